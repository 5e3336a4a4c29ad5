"""Gzip files are cut at seek points: what is unpacked from them is what was packed, and a damaged file is told."""

import gzip
import io
import random
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from helpers.packed import indexed, members, seek_points, small_partitions
from hypothesis import given, settings
from hypothesis import strategies as st

from sapflow.data.data_file import DataFile
from sapflow.errors import DataError
from sapflow.preparation.batch import Text
from sapflow.preparation.reading.csv_reader import CsvReader
from sapflow.preparation.reading.members import Bytes, following
from sapflow.preparation.reading.reader import Asked, Parsed, Plan
from sapflow.preparation.reading.seek_point import SeekPoint
from sapflow.preparation.reading.unpacked_gzip import UnpackedGzip, unpacked_file

PARTITION, CHUNK = 1 << 17, 1 << 14


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with small_partitions(PARTITION, CHUNK):
        yield


def table(rows: int = 40_000) -> bytes:
    drawn = random.Random(1)
    lines = [f'{row},"{drawn.choice("abc")}\n{drawn.random():.4f}"\n' for row in range(rows)]
    return ("n,t\n" + "".join(lines)).encode()


TEXT = table()
HALF = len(TEXT) // 2
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "one member": gzip.compress,
    "packed fast": lambda text: gzip.compress(text, 1),
    "stored": lambda text: gzip.compress(text, 0),
    "two members and padding": lambda text: (
        gzip.compress(text[:HALF]) + bytes(100) + gzip.compress(text[HALF:])
    ),
    "members end at borders": lambda text: members(text, PARTITION),
    "empty members between": lambda text: (
        gzip.compress(b"")
        + gzip.compress(text[: 2 * PARTITION])
        + gzip.compress(b"") * 3
        + gzip.compress(text[2 * PARTITION :])
        + bytes(9)
    ),
    "blocked": lambda text: members(text, 65_280),
    "members smaller than a chunk": lambda text: members(text, 999),
}


def data_file(data: bytes, name: str = "a.csv.gz") -> DataFile:
    return DataFile(name, len(data), lambda: io.BytesIO(data))


def opened(file: DataFile) -> UnpackedGzip:
    stream = file.open()
    assert isinstance(stream, UnpackedGzip)
    return stream


@pytest.mark.parametrize("packed", PACKED)
def test_any_bytes_are_read_as_they_were_packed(packed: str) -> None:
    file = indexed(data_file(PACKED[packed](TEXT)))
    assert file.size == len(TEXT)
    with opened(file) as stream:
        assert stream.read() == TEXT
        drawn = random.Random(2)
        for _ in range(30):
            begin, size = drawn.randrange(len(TEXT)), drawn.randrange(2 * CHUNK)
            stream.seek(begin)
            assert stream.read(size) == TEXT[begin : begin + size]


@pytest.mark.parametrize("packed", PACKED)
def test_the_members_of_all_ranges_are_those_of_the_file(packed: str) -> None:
    file = indexed(data_file(PACKED[packed](TEXT)))
    total, ended = Bytes(), 0
    for begin in range(0, file.size, PARTITION):
        with opened(file) as stream:
            stream.count(begin, min(begin + PARTITION, file.size))
            stream.seek(begin + PARTITION)
            stream.read(3)
            notes = stream.counted().notes()
        ended += notes["head"] is not None
        total = following(total, notes, file.name)
    assert (total.check, total.size) == (0, 0)
    assert ended


def test_most_borders_have_seek_points_of_their_own() -> None:
    points, size = seek_points(data_file(gzip.compress(TEXT)))
    assert len(points) == (size - 1) // PARTITION
    assert len({point.unpacked for point in points.values()}) == len(points)
    assert len({point.bits for point in points.values()}) > 1
    for border, point in points.items():
        assert border * PARTITION - 2 * PARTITION < point.unpacked <= border * PARTITION - CHUNK


@settings(max_examples=60, deadline=None)
@given(
    bits=st.integers(0, 7),
    level=st.integers(0, 9),
    data=st.binary(max_size=300),
    window=st.binary(max_size=300),
    junk=st.integers(0, 255),
)
def test_what_begins_within_a_byte_is_unpacked(
    bits: int, level: int, data: bytes, window: bytes, junk: int
) -> None:
    if level == 0 or not bits:
        bits, level = 0, level  # blocks that are stored begin where the file has them
    packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=window) if window else None
    packer = packer or zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = np.unpackbits(np.frombuffer(packer.compress(data) + packer.flush(), np.uint8), bitorder="little")
    if packed[1] == packed[2] == 0:
        bits = 0
    before = [junk >> place & 1 for place in range((8 - bits) % 8)]
    file = np.packbits(np.concatenate([np.array(before, np.uint8), packed]), bitorder="little").tobytes()
    point = SeekPoint(int(bits > 0), bits, 0, window)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    found = inflater.decompress(point.opening(file[0]) + file[point.packed :])
    assert found == window + data
    assert inflater.eof


READER = CsvReader()


def rows(file: DataFile) -> tuple[list[object], list[tuple[int, str]], Plan]:
    """The values of all rows, the lines and reasons of rejected ones, and the plan."""
    plan = READER.survey([file], Asked(columns={"n": "Number"}))
    plan = READER.cut(plan, [READER.scan([file], plan, number) for number in plan.to_scan])
    parsed: list[Parsed] = []
    for number in range(len(plan.partitions)):
        parsed += READER.batches([file], plan, number)
    values: list[object] = []
    for each in parsed:
        for column in each.batch.columns.values():
            assert isinstance(column, np.ndarray | Text)
            values += column.tolist() if isinstance(column, np.ndarray) else column.values()
    return values, [(each.line, each.reason) for one in parsed for each in one.rejected], plan


@pytest.mark.parametrize("packed", ["one member", "blocked", "members end at borders"])
def test_partitions_and_rows_are_those_of_the_file_that_is_not_packed(packed: str) -> None:
    text = TEXT[:HALF] + b'1,2,3\n"\n' + TEXT[HALF:]
    plain = rows(data_file(text, "a.csv"))
    found = rows(indexed(data_file(PACKED[packed](text))))
    assert found[:2] == plain[:2]
    assert found[2].partitions == plain[2].partitions
    assert len(plain[2].partitions) > 3


def test_a_plan_says_which_files_need_seek_points() -> None:
    def surveyed(*names: str, **options: object) -> tuple[int, ...]:
        files = [
            data_file(gzip.compress(b"n,t\n1,a\n") if name.endswith("gz") else b"n,t\n1,a\n", name)
            for name in names
        ]
        return READER.survey(files, Asked(options)).to_index

    assert surveyed("a.csv.gz", "b.csv", "c.csv.gz") == (0, 2)
    assert surveyed("a.csv") == ()
    assert surveyed("a.csv.gz", encoding="latin-1") == (0,)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def of_damaged(damaged: bytes, good: bytes) -> None:
    """Scan and cut a file that was damaged after its seek points were found."""
    points, size = seek_points(data_file(good))
    plan = READER.survey([unpacked_file(data_file(good), size, points.__getitem__)], Asked())
    file = unpacked_file(data_file(damaged), size, points.__getitem__)
    READER.cut(plan, [READER.scan([file], plan, number) for number in plan.to_scan])


@pytest.mark.parametrize("packed", ["stored", "two members and padding", "blocked", "members end at borders"])
def test_what_is_not_what_was_packed_is_refused_wherever_it_is(packed: str) -> None:
    good = PACKED[packed](TEXT)
    for part in range(1, 8):
        with pytest.raises(DataError, match=r"is corrupt[:,] "):
            of_damaged(flipped(good, len(good) * part // 8 + 40), good)


def test_a_check_that_differs_in_the_middle_of_a_member_is_told_with_the_file() -> None:
    good = PACKED["stored"](TEXT)
    with pytest.raises(
        DataError, match="file 1 of the source is corrupt: what is unpacked is not what was packed"
    ):
        of_damaged(flipped(good, len(good) // 2), good)


@pytest.mark.parametrize(
    ("damaged", "told"),
    [
        (gzip.compress(TEXT)[:-9], "it ends before what is packed in it does"),
        (gzip.compress(TEXT)[:200_000], "it ends before what is packed in it does"),
        (gzip.compress(TEXT) + b"junk", "there is no gzip member where one should begin"),
        (b"junk" * 9, "there is no gzip member where one should begin"),
    ],
    ids=["its end is missing", "half is missing", "junk follows", "junk"],
)
def test_a_damaged_file_is_told_where_seek_points_are_found_or_where_it_is_read(
    damaged: bytes, told: str
) -> None:
    with pytest.raises(DataError, match=rf"a\.csv\.gz is corrupt: {told}"):
        opened(indexed(data_file(damaged))).read()


def test_a_file_that_unpacks_to_another_size_was_changed() -> None:
    points, size = seek_points(data_file(gzip.compress(TEXT)))
    other = unpacked_file(data_file(gzip.compress(TEXT[:-5])), size, points.__getitem__)
    with pytest.raises(DataError, match="it was changed while it was read"):
        opened(other).read()


@pytest.mark.parametrize("data", [b"", gzip.compress(b"")], ids=["no byte", "a member of nothing"])
def test_a_file_of_nothing_unpacks_to_nothing(data: bytes) -> None:
    file = indexed(data_file(data))
    assert file.size == 0
    assert opened(file).read() == b""
