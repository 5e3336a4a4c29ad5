"""The nodes on which the cells of a placed job were. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from sapflow.records.commits import Commit
from sapflow.text import count, duration

UNKNOWN = "not told"
_MOST = 20
"""The most nodes of a cell that are named, one after the other; of more moves only the number and the last node are."""


@dataclass(slots=True)
class _Stays:
    """Where a cell was: (the first step there, node) of the first stays, all moves' number, and the newest node."""

    first: list[tuple[int, str]] = field(default_factory=list)
    moves: int = 0
    node: str = ""


class Homes:
    """Where each cell was, from version to version."""

    def __init__(self) -> None:
        self._stays: dict[int, _Stays] = {}

    def take(self, commit: Commit) -> Iterator[str]:
        """Take in the next version. Yields a text for each cell that has moved to another node."""
        for cell, node in sorted((commit.measured.nodes or {}).items()):
            stays = self._stays.setdefault(cell, _Stays())
            before, stays.node = stays.node, node
            if node == before:
                continue
            if len(stays.first) < _MOST:
                stays.first.append((commit.version, node))
            if before:
                stays.moves += 1
                at = duration(commit.account.seconds)
                yield f"cell {cell} on {node} from step {commit.version:,}, on {before} before, {at}"

    def of(self, cell: int) -> str:
        """The nodes of a cell, with the steps at which it moved."""
        stays = self._stays.get(cell)
        if stays is None:
            return UNKNOWN
        named = [stays.first[0][1], *(f"from step {version:,} {node}" for version, node in stays.first[1:])]
        if more := stays.moves - len(stays.first) + 1:
            named.append(f"then {count(more, 'move')} more, at last {stays.node}")
        return ", ".join(named)
