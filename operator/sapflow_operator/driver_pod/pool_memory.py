"""The memory of a search's functions, which the operator gives: how much it is, and whether one was killed over it.

A driver sees no more of a function that was killed than that its call has failed. The operator sees the pod, and says
in the status what it has done: it has given all functions of the role more, or it may not.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from sapflow.quantities.memory import parse_quantity
from sapflow.quantities.roles import Role
from sapflow.tuning.calls import Calls
from sapflow.tuning.trials import Growth
from sapflow_operator.conditions import FUNCTIONS_READY
from sapflow_operator.driver_pod.reports import StatusApi
from sapflow_operator.growth import KILLED

POLL_SECONDS = 1.0
"""Between two looks at the status."""
REFUSED_SECONDS, NOTICE_SECONDS = 3.0, 10.0
"""Seconds after a call has failed in which the operator says that a killed function gets no more, or that it does."""
READY_SECONDS = 300.0
"""The most that new functions are waited for. Trials go on then, too, and wait in their calls."""


class PoolMemory:
    """What the operator says about the memory of a pool."""

    def __init__(self, api: StatusApi, first: Mapping[Role, int], calls: Calls) -> None:
        """`first`: the sizes in bytes that functions have as long as the status says nothing. `calls` learn of others,
        because a call of a larger function may cost more."""
        self._api, self._sizes, self._calls = api, dict(first), calls

    async def take_in(self) -> Mapping[str, Any]:
        """Learn how much memory functions have now; the status."""
        status = await self._api.status()
        for role in self._sizes:
            if (quantity := status.get("memory", {}).get(role)) is not None:
                self._sizes[role] = parse_quantity(str(quantity))
                self._calls.may_have(role, self._sizes[role])
        return status

    async def grow(self, failed: float) -> Growth:
        """Wait for what the operator makes of a call that has failed at this time, and for the new functions."""
        clock, known = asyncio.get_running_loop().time, dict(self._sizes)
        while True:
            status = await self.take_in()
            if any(size > known[role] for role, size in self._sizes.items()):
                await self._until_ready()
                return "Grown"
            waited = clock() - failed
            if _functions(status).get("reason") == KILLED and waited >= REFUSED_SECONDS:
                return "Refused"
            if waited >= NOTICE_SECONDS:
                return "NotKilled"
            await asyncio.sleep(POLL_SECONDS)

    async def _until_ready(self) -> None:
        clock = asyncio.get_running_loop().time
        until = clock() + READY_SECONDS
        while _functions(await self._api.status()).get("status") != "True" and clock() < until:
            await asyncio.sleep(POLL_SECONDS)


def _functions(status: Mapping[str, Any]) -> Mapping[str, Any]:
    """The condition of the functions; empty if there is none."""
    found = (each for each in status.get("conditions", ()) if each["type"] == FUNCTIONS_READY)
    return next(found, {})
