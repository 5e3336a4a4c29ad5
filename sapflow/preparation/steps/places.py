"""Where the values of a column go: each to a place, which is a number of its own."""

from dataclasses import dataclass, field

import numpy as np

from sapflow.preparation.batch import Column, Text
from sapflow.preparation.record import Record, words_of, words_to_arrays


@dataclass(frozen=True, slots=True)
class Places:
    """Where the values of a column go: value i to place `places[i]`, -1 for none; the same for a missing value.

    `absent` is the place of what is not among the values.
    """

    values: tuple[str, ...] | np.ndarray
    places: np.ndarray
    """int32 [k]."""
    missing: int
    absent: int = -1
    _by_word: dict[str, int] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.values, tuple):
            self._by_word.update(zip(self.values, self.places.tolist(), strict=True))

    def of(self, column: Column) -> np.ndarray:
        """int32 [n]: each row's place."""
        if isinstance(column, Text):
            found = [self._by_word.get(word, self.absent) for word in column.words]
            return np.asarray(np.array([*found, self.missing], np.int32)[column.codes])
        assert isinstance(column, np.ndarray)
        assert isinstance(self.values, np.ndarray)
        nothing = np.isnan(column)
        if not len(self.values):
            return np.where(nothing, self.missing, self.absent).astype(np.int32)
        at = np.minimum(np.searchsorted(self.values, column), len(self.values) - 1)
        found_places = np.where(self.values[at] == column, self.places[at], self.absent)
        return np.where(nothing, self.missing, found_places).astype(np.int32)

    def record(self) -> Record:
        """The places as a record."""
        arrays = {"places": self.places}
        if isinstance(self.values, tuple):
            arrays |= words_to_arrays("words", self.values)
        else:
            arrays["numbers"] = self.values
        return Record({"missing": self.missing, "absent": self.absent}, arrays)

    @classmethod
    def of_record(cls, record: Record) -> "Places":
        """The places that `record` was made from."""
        arrays, notes = record.arrays, record.notes
        values = arrays["numbers"] if "numbers" in arrays else words_of("words", arrays)
        return cls(values, arrays["places"], int(notes["missing"]), int(notes["absent"]))


def one_hot(places: np.ndarray, width: int) -> np.ndarray:
    """uint8 [n, width]: 1 at each row's place, nothing for a place below 0."""
    features = np.zeros((len(places), width), np.uint8)
    rows = np.flatnonzero(places >= 0)
    features.reshape(-1)[rows * width + places[rows]] = 1
    return features
