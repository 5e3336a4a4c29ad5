"""Calls of a placed job: each cell has its own functions and its own sender."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from sapflow.planning.placement import ROOT_CELL
from sapflow.quantities.roles import Role
from sapflow.runtimes.sender import Reply, Sender


class CellSender:
    """A Sender that chooses among the cells' senders; a call that names no cell goes to the root's cell.

    Roles whose functions are in no cell have senders of their own in `everywhere`.
    """

    def __init__(self, senders: Sequence[Sender], everywhere: Mapping[Role, Sender] | None = None) -> None:
        self._senders, self._everywhere = senders, everywhere or {}

    async def invoke(self, role: Role, request: Mapping[str, Any], *, seconds: float) -> Reply:
        """See Sender.invoke."""
        cell = request.get("cell")
        sender = self._everywhere.get(role) or self._senders[ROOT_CELL if cell is None else cell]
        return await sender.invoke(role, request, seconds=seconds)

    async def close(self) -> None:
        """Close all senders."""
        await asyncio.gather(*(sender.close() for sender in (*self._senders, *self._everywhere.values())))
