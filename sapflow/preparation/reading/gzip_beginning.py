"""The beginning of a source of gzip files, as partitions of what is unpacked: all seek points are known only once all
is unpacked, and those of the first partitions tell how much the rest will be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sapflow.data.data_file import DataFile
from sapflow.errors import DataError
from sapflow.preparation.reading.reader import PARTITION_BYTES
from sapflow.preparation.reading.seek_point import SeekPoint
from sapflow.preparation.reading.seek_search import search
from sapflow.preparation.reading.unpacked_gzip import unpacked_file

EXPECTED_RATIO: Final = 4.0
"""How much larger text is unpacked, where nothing is known of it."""


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What is known of a file's beginning, or of all of it."""

    packed: int
    """Bytes of the file up to there."""
    unpacked: int
    """Bytes of what they unpack to."""
    least: int
    """Bytes that all of the file unpacks to, at least."""
    complete: bool


def known_to_end(file: DataFile, size: int) -> Unpacked:
    """What is known of a file that unpacks to `size` bytes."""
    return Unpacked(file.size, size, size, True)


def up_to(border: int, point: SeekPoint) -> Unpacked:
    """What is known of a file by the seek point for a border."""
    return Unpacked(point.packed, point.unpacked, border * PARTITION_BYTES + 1, False)


def beginning_bytes(partitions: int) -> int:
    """So much text has the ends of the first partitions: where one ends, the scan of the next one says, and that reads
    up to the border after it."""
    return beginning_borders(partitions) * PARTITION_BYTES


def beginning_borders(partitions: int) -> int:
    """So many borders of partitions are in that."""
    return partitions + 2


def sizes_by(
    files: Sequence[DataFile], packed: Sequence[int], known: Mapping[int, Unpacked]
) -> dict[int, int]:
    """The sizes of what is unpacked of files, by their numbers: of those known to their end as they are, of others as
    what is known lets expect."""
    total = sum(each.packed for each in known.values())
    ratio = sum(each.unpacked for each in known.values()) / total if total else EXPECTED_RATIO
    found = {}
    for number in packed:
        one = known.get(number)
        if one is None:
            found[number] = round(ratio * files[number].size)
        elif one.complete:
            found[number] = one.unpacked
        else:
            own = one.unpacked / one.packed if one.packed else ratio
            found[number] = max(one.least, round(own * files[number].size))
    return found


def unpacked_beginning(
    files: Sequence[DataFile], packed: Sequence[int], partitions: int
) -> tuple[list[DataFile], dict[int, int]]:
    """The files, those of the numbers `packed` as if they were not packed, and the sizes that these have by now; only
    the first partitions of them can be read. Raises DataError."""
    left, known = beginning_bytes(partitions), dict[int, Unpacked]()
    points: dict[int, dict[int, SeekPoint]] = {number: {} for number in packed}
    for number in packed:
        if left <= 0:
            break
        known[number] = _searched(files[number], points[number], left)
        left -= known[number].least
    sizes = sizes_by(files, packed, known)
    found = list(files)
    for number, size in sizes.items():
        found[number] = unpacked_file(files[number], size, _Known(files[number].name, points[number]))
    return found, sizes


def _searched(file: DataFile, points: dict[int, SeekPoint], most: int) -> Unpacked:
    """What the file unpacks to up to `most` bytes or some more; its seek points are put into `points`."""
    border = 1
    while True:
        found = search(file, border, points.get(border - 1))
        if found.point is None:
            return known_to_end(file, found.size or 0)
        points[border] = found.point
        if border * PARTITION_BYTES >= most:
            return up_to(border, found.point)
        border += 1


@dataclass(frozen=True, slots=True)
class _Known:
    """The seek points of a file that were sought."""

    name: str
    points: Mapping[int, SeekPoint]

    def __call__(self, border: int) -> SeekPoint:
        if border not in self.points:
            raise DataError(f"{self.name} was unpacked at its beginning alone, and more of it is asked for")
        return self.points[border]
