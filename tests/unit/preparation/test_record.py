"""Records of a preparation: what is counted and learnt travels with all its bits."""

import numpy as np
import pytest

from sapflow.errors import CorruptObject
from sapflow.preparation.batch import Batch, Text, missing
from sapflow.preparation.record import Record, joined, parts, words_of, words_to_arrays


def test_a_record_comes_back_with_all_its_bits() -> None:
    record = Record({"mean": 0.1 + 0.2, "names": ["ü", ""]}, {"sums": np.array([[1e-300, -0.0]])})
    again = Record.decode(record.encode(), "key")
    assert again.notes == record.notes
    assert again.arrays["sums"].tobytes() == record.arrays["sums"].tobytes()
    assert again.encode() == record.encode()


def test_records_are_joined_and_told_apart_again() -> None:
    one, other = Record({"rows": 3}, {"x": np.arange(3)}), Record({}, {"x": np.zeros((2, 2), np.float32)})
    found = parts(Record.decode(joined({"0": one, "7": other}).encode(), "key"))
    assert found.keys() == {"0", "7"}
    assert found["0"].notes == {"rows": 3}
    np.testing.assert_array_equal(found["0"].arrays["x"], np.arange(3))
    assert found["7"].arrays["x"].dtype == np.float32


def test_words_of_any_kind_travel_as_arrays() -> None:
    words = ("", "a,b\n", "Zürich", "\ud800", "日本")
    assert words_of("seen", words_to_arrays("seen", words)) == words
    assert words_of("seen", words_to_arrays("seen", ())) == ()


def test_an_object_that_is_no_record_is_refused() -> None:
    with pytest.raises(CorruptObject):
        Record.decode(b"\0" * 80, "key")


def test_rows_are_taken_of_every_kind_of_column() -> None:
    batch = Batch(
        {"word": Text.of(["a", None, "b"]), "number": np.array([1.0, np.nan, 3.0])}, np.array([4, 5, 9])
    )
    for chosen in (np.array([True, False, True]), np.array([0, 2])):
        kept = batch.take(chosen)
        word = kept.columns["word"]
        assert isinstance(word, Text)
        assert word.values() == ["a", "b"]
        assert kept.numbers.tolist() == [4, 9]
    assert missing(batch.columns["word"]).tolist() == missing(batch.columns["number"]).tolist()
