"""Calls of a placed job: each cell has functions of its own, reached by a sender of its own."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from sapflow.planning.placement import ROOT_CELL
from sapflow.quantities.roles import Role
from sapflow.runtimes.sender import Reply, Sender


class CellSender:
    """A Sender over one sender a cell; a call that names no cell goes to the root's."""

    def __init__(self, senders: Sequence[Sender]) -> None:
        self._senders = senders

    async def invoke(self, role: Role, request: Mapping[str, Any], *, seconds: float) -> Reply:
        """As Sender.invoke."""
        cell = request.get("cell")
        sender = self._senders[ROOT_CELL if cell is None else cell]
        return await sender.invoke(role, request, seconds=seconds)

    async def close(self) -> None:
        """Close them all."""
        await asyncio.gather(*(sender.close() for sender in self._senders))
