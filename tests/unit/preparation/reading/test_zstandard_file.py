"""Files that Zstandard has packed are read to their end, or told to be damaged."""

import io

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from sapflow.data.data_file import DataFile
from sapflow.errors import DataError
from sapflow.preparation.reading.csv_reader import CsvReader
from sapflow.preparation.reading.reader import Asked

READER = CsvReader()
ROWS = b"t,n\n" + b"".join(b"%d,%d\n" % (row, row * row) for row in range(500)) + b"a,0\n" * 50_000


def numbers(data: bytes) -> list[float]:
    """The values of the column n, in rows that can be read."""
    files = [DataFile("a.csv.zst", len(data), lambda: io.BytesIO(data))]
    plan = READER.survey(files, Asked(columns={"n": "Number", "t": "Text"}))
    assert len(plan.partitions) == 1
    parsed = READER.batches(files, plan, 0)
    return [value for each in parsed for value in np.asarray(each.batch.columns["n"]).tolist()]


def test_frames_one_after_another_are_one_text() -> None:
    nothing = b"\x5a\x2a\x4d\x18" + (9).to_bytes(4, "little") + b"something"
    packed = zstandard.compress(ROWS[:20]) + nothing + zstandard.compress(ROWS[20:])
    assert (
        numbers(packed)
        == numbers(zstandard.compress(ROWS))
        == [row * row for row in range(500)] + [0] * 50_000
    )


@settings(max_examples=30, deadline=None)
@given(data=st.data(), known=st.booleans(), checked=st.booleans(), level=st.sampled_from([1, 19]))
def test_a_file_that_ends_within_a_frame_is_told(
    data: st.DataObject, known: bool, checked: bool, level: int
) -> None:
    frame = zstandard.ZstdCompressor(level, write_content_size=known, write_checksum=checked).compress(ROWS)
    assert len(numbers(frame * 2)) == 2 * 50_500  # the second header is no number
    cut = data.draw(st.integers(1, len(frame) - 1))
    with pytest.raises(DataError, match=r"a\.csv\.zst (cannot be read|is corrupt): "):
        numbers(frame + frame[:cut])


@pytest.mark.parametrize(
    "damaged",
    [b"(\xb5/\xfd", b"junk" * 5, zstandard.compress(ROWS)[:-9] + b"?" * 9],
    ids=["a mark alone", "junk", "another end"],
)
def test_what_is_damaged_is_told(damaged: bytes) -> None:
    with pytest.raises(DataError, match=r"a\.csv\.zst (cannot be read|is corrupt): "):
        numbers(damaged)
