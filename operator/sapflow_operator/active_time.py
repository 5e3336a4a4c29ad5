"""How long a resource has been active, which its deadline counts: from its start, without times of suspension. Pure.

It is the operator's part of the status that is changed here: `activeSince` while it is active, and `activeSeconds` from
before.
"""

from datetime import datetime, timedelta
from typing import Any

from sapflow_operator import times

GRACE_SECONDS = 60.0
"""Seconds after its deadline in which a driver ends by itself, with a checkpoint, before the operator ends it."""


def begin(status: dict[str, Any], now: datetime) -> None:
    """Count from now on, unless it is counted already."""
    status.setdefault("activeSince", times.write(now))


def pause(status: dict[str, Any], now: datetime) -> None:
    """Count no longer."""
    if "activeSince" in status:
        passed = now - times.read(status.pop("activeSince"))
        status["activeSeconds"] = status.get("activeSeconds", 0) + max(0, int(passed.total_seconds()))


def ends(status: dict[str, Any], deadline_seconds: float | None) -> datetime | None:
    """When an active resource reaches its deadline; None if it has none."""
    if deadline_seconds is None:
        return None
    left = deadline_seconds - status.get("activeSeconds", 0)
    return times.read(status["activeSince"]) + timedelta(seconds=left)
