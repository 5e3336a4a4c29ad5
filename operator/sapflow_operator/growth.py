"""Growing memory limits: the next limit of functions that were killed for memory. Pure."""

import math
from collections.abc import Mapping
from typing import TypeVar

from sapflow.quantities.memory import MIB, format_quantity, parse_quantity
from sapflow.quantities.roles import Role
from sapflow_operator.reconciliation import Reconciliation
from sapflow_operator.wanted import Wanted

GROWTH = 1.5
"""The factor by which the memory of killed functions grows."""
KILLED = "OutOfMemory"

AnyWanted = TypeVar("AnyWanted", bound=Wanted)


def grown(wanted: AnyWanted, role: Role, reconciliation: Reconciliation) -> AnyWanted:
    """The pool after functions were killed for memory: with more memory, or unchanged with a message why."""
    limit = wanted.memory(role)
    if not reconciliation.observed.killed_for_memory(role, limit):
        return wanted
    said = f"a {role} was killed over its memory limit of {limit}"
    if not wanted.grows:
        reconciliation.conditions.mark_functions_not_ready(KILLED, f"{said}: {wanted.more_memory(role)}")
        return wanted
    most = wanted.settings.max_memory
    size = larger(limit, most)
    if size is None:
        reconciliation.fail(KILLED, f"{said}, and the operator gives no function more than {most}")
        return wanted
    reconciliation.conditions.mark_functions_waiting(f"{said}; it is given {size}")
    reconciliation.say("MemoryGrown", f"{said}; it is given {size}", "Warning")
    return resized(wanted, {role: size}, reconciliation)


def resized(wanted: AnyWanted, sizes: Mapping[Role, str], reconciliation: Reconciliation) -> AnyWanted:
    """The pool with other memory sizes, which are recorded in the status."""
    changed = wanted.with_sizes(sizes)
    reconciliation.status["memory"] = {**reconciliation.status.get("memory", {}), **changed.sizes}
    return changed


def larger(limit: str, most: str) -> str | None:
    """The next size, or None if there is none."""
    size = min(math.ceil(parse_quantity(limit) * GROWTH / MIB) * MIB, parse_quantity(most))
    return format_quantity(size) if size > parse_quantity(limit) else None
