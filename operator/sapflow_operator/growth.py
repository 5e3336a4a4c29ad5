"""Memory limits that grow: what a function killed for memory is given next. Pure."""

import math
from collections.abc import Mapping
from typing import TypeVar

from sapflow.quantities.memory import MIB, format_quantity, parse_quantity
from sapflow.quantities.roles import Role
from sapflow_operator.look import Look
from sapflow_operator.wanted import Wanted

GROWTH = 1.5
"""Times the memory that a function killed for it is given next."""
KILLED = "OutOfMemory"

AnyWanted = TypeVar("AnyWanted", bound=Wanted)


def grown(wanted: AnyWanted, role: Role, look: Look) -> AnyWanted:
    """After a kill for memory: the pool with more of it, or as it is and said so."""
    limit = wanted.memory(role)
    if not look.observed.killed_for_memory(role, limit):
        return wanted
    said = f"a {role} was killed over its memory limit of {limit}"
    if not wanted.grows:
        look.conditions.mark_functions_not_ready(KILLED, f"{said}: {wanted.more_memory(role)}")
        return wanted
    most = wanted.settings.max_memory
    size = larger(limit, most)
    if size is None:
        look.fail(KILLED, f"{said}, and the operator gives no function more than {most}")
        return wanted
    look.conditions.mark_functions_waiting(f"{said}; it is given {size}")
    look.say("MemoryGrown", f"{said}; it is given {size}", "Warning")
    return resized(wanted, {role: size}, look)


def resized(wanted: AnyWanted, sizes: Mapping[Role, str], look: Look) -> AnyWanted:
    """The pool with other sizes, which the status keeps from now on."""
    changed = wanted.with_sizes(sizes)
    look.status["memory"] = {**look.status.get("memory", {}), **changed.sizes}
    return changed


def larger(limit: str, most: str) -> str | None:
    """The next size, None where there is none."""
    size = min(math.ceil(parse_quantity(limit) * GROWTH / MIB) * MIB, parse_quantity(most))
    return format_quantity(size) if size > parse_quantity(limit) else None
