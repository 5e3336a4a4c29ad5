"""Files of text as partitions that begin and end exactly at records."""

from collections.abc import Mapping, Sequence
from typing import Any

from sapflow.errors import DataError
from sapflow.preparation.reading.csv_records import MAX_RECORD_BYTES, UNCLOSED
from sapflow.preparation.reading.members import Bytes, following
from sapflow.preparation.reading.pieces import grouped
from sapflow.preparation.reading.quoting import OUTSIDE, Marks, Span, scanned
from sapflow.preparation.reading.reader import PARTITION_BYTES, Partition, Piece, Plan
from sapflow.preparation.reading.text_file import TextFile
from sapflow.preparation.reading.unpacked_gzip import UnpackedGzip
from sapflow.preparation.record import Record

_ONE_PIECE = Span(0, (OUTSIDE, OUTSIDE), (0, 0), (0, 0), (0, 0))
"""Of a file that is in one piece nothing has to be found."""
_FOUND = ("lines", "ends", "records", "first", "skipped")
_MEMBERS = "members"


def text_partitions(files: Sequence[TextFile]) -> tuple[tuple[Partition, ...], tuple[int, ...]]:
    """Partitions of files in their order, and the numbers of those that must be scanned.

    Files that cannot be cut are one piece each.
    """
    pieces = []
    for number, text in enumerate(files):
        size = text.file.size
        step = PARTITION_BYTES if text.can_be_cut else max(1, size)
        pieces += [
            Piece(file=number, begin=begin, end=min(begin + step, size)) for begin in range(0, size, step)
        ]
    partitions = grouped(pieces)
    cut = {piece.file for piece in pieces if piece.begin}
    to_scan = [
        number for number, each in enumerate(partitions) if any(piece.file in cut for piece in each.pieces)
    ]
    return partitions, tuple(to_scan)


def scan_pieces(files: Mapping[int, TextFile], partition: Partition, marks: Marks) -> Record:
    """What is found of the pieces of a partition. Raises DataError."""
    found: list[Span] = []
    members: list[dict[str, Any] | None] = []
    for piece in partition.pieces:
        text = files[piece.file]
        counted = None
        if piece.begin == 0 and piece.end == text.file.size:
            found.append(_ONE_PIECE)
        else:
            with text.file.open() as stream:
                if isinstance(stream, UnpackedGzip):
                    stream.count(piece.begin, piece.end)
                read = text.reading_of(stream)
                origin = text.origin(read)
                found.append(scanned(read, piece.begin, piece.end, origin, text.file.size, marks))
                if isinstance(stream, UnpackedGzip):
                    counted = stream.counted().notes()
        members.append(counted)
    notes: dict[str, Any] = {name: [getattr(each, name) for each in found] for name in _FOUND}
    return Record({**notes, _MEMBERS: members} if any(members) else notes)


def to_index(files: Sequence[TextFile]) -> tuple[int, ...]:
    """The numbers of the files that can be cut once their seek points are known."""
    return tuple(number for number, text in enumerate(files) if text.needs_seek_points)


def cut_exactly(plan: Plan, scans: Sequence[Record]) -> Plan:
    """The plan whose pieces begin and end at records and know their first lines. Raises DataError where a record is too
    long, and where what is unpacked of a file is not what was packed."""
    cuts = _Cuts()
    for number, scan in zip(plan.to_scan, scans, strict=True):
        _check_members(plan.partitions[number], scan, cuts.members)
        for piece, *found in zip(
            plan.partitions[number].pieces, *(scan.notes[name] for name in _FOUND), strict=True
        ):
            cuts.add(piece, dict(zip(_FOUND, found, strict=True)))
    begins = cuts.begins
    partitions = []
    for partition in plan.partitions:
        pieces, lines = [], []
        for piece in partition.pieces:
            begin, line = begins.get((piece.file, piece.begin), (piece.begin, 1))
            end, _ = begins.get((piece.file, piece.end), (piece.end, 0))
            if end - begin > piece.end - piece.begin + MAX_RECORD_BYTES:
                raise DataError(
                    f"file {piece.file + 1} of the source, line {line} and after: a record has more than "
                    f"{MAX_RECORD_BYTES >> 20} MiB: {UNCLOSED}"
                )
            pieces.append(Piece(file=piece.file, begin=begin, end=end))
            lines.append(line)
        partitions.append(Partition(pieces=tuple(pieces), notes={"lines": lines}))
    return plan.model_copy(update={"partitions": tuple(partitions), "to_scan": ()})


def first_lines(partition: Partition) -> Sequence[int]:
    """The line in its file in which each piece begins, from 1."""
    lines: Sequence[int] = partition.notes.get("lines", [1] * len(partition.pieces))
    return lines


def _check_members(partition: Partition, scan: Record, members: dict[int, Bytes]) -> None:
    of_pieces = scan.notes.get(_MEMBERS, [None] * len(partition.pieces))
    for piece, notes in zip(partition.pieces, of_pieces, strict=True):
        if notes is not None:
            name = f"file {piece.file + 1} of the source"
            members[piece.file] = following(members.get(piece.file, Bytes()), notes, name)


class _Cuts:
    """Where the pieces of each file truly begin, from what was found of them in their order."""

    def __init__(self) -> None:
        self.members: dict[int, Bytes] = {}
        """Of each file that was packed, the bytes so far of a member that has not ended."""
        self.begins: dict[tuple[int, int], tuple[int, int]] = {}
        """(offset, line) of the first record of the piece of a file that was to begin at an offset."""
        self._file, self._state, self._line = -1, OUTSIDE, 1
        self._waiting: list[tuple[int, int]] = []

    def add(self, piece: Piece, found: Mapping[str, Any]) -> None:
        if piece.file != self._file:
            self._file, self._state, self._line, self._waiting = piece.file, OUTSIDE, 1, []
        self._waiting.append((piece.file, piece.begin))
        first = int(found["first"][self._state])
        if first >= 0:
            at = (0 if piece.begin == 0 else first, self._line + int(found["skipped"][self._state]))
            # Pieces in which no record begins are empty: they end where the next one begins.
            for waiting in self._waiting:
                self.begins[waiting] = at
            self._waiting = []
        for waiting in self._waiting:
            self.begins[waiting] = (piece.end, self._line)
        self._line += int(found["lines"])
        self._state = found["ends"][self._state]
