"""Leftovers of a step: objects that were needed only to make its commit, and are removed after it."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sapflow.messages.refs import CELL, INLINE, STORE, Ref


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Keys in the job's store, and keys on the volumes of its cells as pairs (cell, key)."""

    keys: list[str] = field(default_factory=list)
    in_cells: list[tuple[int, str]] = field(default_factory=list)

    @classmethod
    def of(cls, refs: Iterable[Ref], keys: Iterable[str] = ()) -> "Leftovers":
        """Leftovers from contributions, by their channels, and from further keys in the store."""
        found, in_cells = list(keys), []
        for ref in refs:
            if ref.channel == STORE:
                found.append(ref.key)
            elif ref.channel == CELL and ref.cell is not None:
                in_cells.append((ref.cell, ref.key))
            elif ref.channel != INLINE:
                raise ValueError(f"{ref.key}: nobody says what becomes of it on channel {ref.channel!r}")
        return cls(found, in_cells)

    def __add__(self, other: "Leftovers") -> "Leftovers":
        return Leftovers(self.keys + other.keys, self.in_cells + other.in_cells)
