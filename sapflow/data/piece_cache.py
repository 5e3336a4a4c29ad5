"""What an instance keeps of a data set: the windows of all ranks that it serves, as far as its memory goes.

A rank comes back every step for other samples of the same window. So what ranks are at is not given up for anything
else: not for what is read ahead, not for an evaluation's blocks. If there is no room for the windows of all ranks,
those that are kept stay, and of the others each batch reads its own rows: giving up the one used longest ago would lose
every one of them just before its turn.
"""

from collections import OrderedDict
from collections.abc import Iterable

from sapflow.data.chunks import Part
from sapflow.data.order import Piece
from sapflow.data.piece_reader import Samples

Key = tuple[Part, Piece]

GONE = 4
"""A rank that was not served in this many rounds of all ranks has moved to another instance."""


class PieceCache:
    """Samples of pieces, up to `room` bytes. Not safe to use from several threads."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.bytes = 0
        self.most = 0
        """The most bytes that were ever kept at once."""
        self.lacking = False
        """Whether something was given up or refused for lack of room; whoever finds more room takes it back."""
        self._kept: OrderedDict[Key, Samples] = OrderedDict()
        self._ranks: dict[int, tuple[int, frozenset[Piece], frozenset[Piece]]] = {}
        self._calls = 0

    def serve(self, rank: int, now: Iterable[Piece], ahead: Iterable[Piece] = ()) -> None:
        """A call for `rank` begins: `now` are the pieces of its window, `ahead` those that it needs next."""
        self._calls += 1
        self._ranks[rank] = (self._calls, frozenset(now), frozenset(ahead))
        oldest = self._calls - GONE * len(self._ranks)
        for each in [each for each, (call, _, _) in self._ranks.items() if call < oldest]:
            del self._ranks[each]

    def get(self, key: Key) -> Samples | None:
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def overlapping(self, key: Key) -> list[tuple[Piece, Samples]]:
        """What is kept of the rows of a piece, under the pieces of another range; in the order of the rows."""
        part, wanted = key
        found = [
            (piece, samples)
            for (kept_part, piece), samples in self._kept.items()
            if kept_part == part
            and piece.block == wanted.block
            and piece.first < wanted.stop
            and wanted.first < piece.stop
        ]
        return sorted(found, key=lambda each: each[0].first)

    def put(self, key: Key, samples: Samples) -> None:
        """Keep samples that a rank needs now, if there is room beside what other ranks are at."""
        now, soon = self._wanted()
        if self._make_room(samples.size, [now | soon, now]) or not self._kept:
            self._add(key, samples)

    def put_ahead(self, key: Key, samples: Samples) -> None:
        """Keep samples that a rank needs soon, if there is room beside what ranks are at and need soon."""
        now, soon = self._wanted()
        if self._make_room(samples.size, [now | soon]):
            self._add(key, samples)

    def put_beside(self, key: Key, samples: Samples) -> None:
        """Keep samples of no rank, if that displaces nothing."""
        if self.bytes + samples.size <= self.room:
            self._add(key, samples)

    def would_keep(self, size: int) -> bool:
        """Whether `put` would keep so many bytes."""
        now, _ = self._wanted()
        held = sum(samples.size for key, samples in self._kept.items() if _wants(now, key))
        return held + size <= self.room or not held

    def has_room(self, size: int) -> bool:
        """Whether `put_ahead` would keep so many bytes."""
        now, soon = self._wanted()
        held = sum(samples.size for key, samples in self._kept.items() if _wants(now | soon, key))
        return held + size <= self.room

    def _wanted(self) -> tuple[set[Piece], set[Piece]]:
        """The pieces that ranks are at, and those that they need next."""
        now = {piece for _, pieces, _ in self._ranks.values() for piece in pieces}
        return now, {piece for _, _, pieces in self._ranks.values() for piece in pieces}

    def _make_room(self, size: int, levels: list[set[Piece]]) -> bool:
        """Give up what was used longest ago and is not wanted, by one level of what is wanted after the other."""
        for wanted in levels:
            for key in [key for key in self._kept if not _wants(wanted, key)]:
                if self.bytes + size <= self.room:
                    return True
                self.bytes -= self._kept.pop(key).size
                self.lacking = True
        fits = self.bytes + size <= self.room
        self.lacking |= not fits
        return fits

    def _add(self, key: Key, samples: Samples) -> None:
        before = self._kept.pop(key, None)
        self.bytes += samples.size - (before.size if before is not None else 0)
        self._kept[key] = samples
        self.most = max(self.most, self.bytes)


def _wants(wanted: set[Piece], key: Key) -> bool:
    part, piece = key
    return part == "train" and piece in wanted
