"""Categories as numbers: a feature for each (one-hot), their numbers (ordinal), or the numbers of a target's classes.

Semantics and order are those of scikit-learn's OneHotEncoder and OrdinalEncoder: categories in order, numbers by size
and text by code point. `top` is their `max_categories` less one, `min_count` their `min_frequency`: of categories that
are equally frequent, the later ones in the order are kept. Those that are not kept are joined in one that comes last.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar, Literal, TypeAlias

import numpy as np

from sapflow.preparation.batch import Batch, Column
from sapflow.preparation.numerals import numeral
from sapflow.preparation.record import Record, joined, parts, words_of, words_to_arrays
from sapflow.preparation.step import Applied, ColumnType, Fit, Fitted, Schema, Step, StepProblem
from sapflow.preparation.steps.categories import Counts, counts_of, merged
from sapflow.preparation.steps.columns import resolve, unknown
from sapflow.preparation.steps.hashed_encode import HashedEncode
from sapflow.preparation.steps.places import Places, one_hot
from sapflow.preparation.steps.refusal import Refused, without
from sapflow.spec.preparation.category_steps import EncodeSpec

Method: TypeAlias = Literal["OneHot", "Ordinal", "Classes"]
Unseen: TypeAlias = Literal["Error", "Ignore", "Other"]

MAX_FEATURES = 10_000
"""Features that one column may become."""

_MISSING, _IGNORED, _BAD = -1, -2, -3
"""Places of values that are no category: a missing number; one that is given no feature, or the value for unseen ones;
one whose row is bad."""


@dataclass(frozen=True, slots=True)
class EncodeStep(Step):
    """Makes numbers of categories. No pattern means the target: its name must be written out."""

    spec: EncodeSpec
    target: str

    def begin(self, given: Schema) -> Fit | Fitted:
        spec = self.spec
        columns = resolve(spec.columns, given, ("Text", "Number"), spared=self.target)
        if spec.method == "Hash":
            assert spec.buckets is not None, "the rules of the spec see to it"
            return HashedEncode(columns, spec.buckets)
        if spec.method == "Classes" and self.target not in given:
            raise unknown(self.target, given, "columns")
        if spec.method == "Classes" and columns != (self.target,):
            raise StepProblem(
                f"method: Classes is for the target {self.target} alone, not for {', '.join(columns)}: use Ordinal",
                "columns",
            )
        choice = EncodeChoice(
            spec.method,
            spec.top,
            spec.min_count,
            spec.unseen or "Error",
            -1.0 if spec.unseen_value is None else float(spec.unseen_value),
        )
        return EncodeFit(columns, choice)


@dataclass(frozen=True, slots=True)
class EncodeChoice:
    """How the columns are encoded."""

    method: Method
    top: int | None = None
    """So many of the most frequent categories are kept."""
    min_count: int | None = None
    """Categories in fewer rows are not kept."""
    unseen: Unseen = "Error"
    """What becomes of a category that training has not seen. Error: the row is bad. Ignore: it has no feature, and as
    an ordinal `unseen_number`. Other: it is as those that were joined, and if there were none, as with Ignore."""
    unseen_number: float = -1.0


@dataclass(frozen=True, slots=True)
class EncodeFit(Fit):
    """Counts the categories of its columns, in one pass."""

    columns: tuple[str, ...]
    choice: EncodeChoice
    name: ClassVar[str] = "encode"

    def reads(self) -> Sequence[str]:
        return self.columns

    def writes(self) -> Sequence[str]:
        return self.columns

    @property
    def drops_rows(self) -> bool:
        return self.choice.method == "Classes"

    def schema(self, given: Schema) -> Schema | None:
        kind = "Class" if self.choice.method == "Classes" else "Number"
        return {**given, **{column: ColumnType(kind) for column in self.columns}}

    def collect(self, batch: Batch, before: Record | None) -> Record:
        found = {column: counts_of(batch.columns[column]) for column in self.columns}
        if before is not None:
            counted = self._counts(before)
            found = {column: merged([counted[column], found[column]]) for column in self.columns}
        return self._joined(found)

    def merge(self, records: Sequence[Record]) -> Record:
        several = [self._counts(record) for record in records]
        return self._joined({column: merged([each[column] for each in several]) for column in self.columns})

    def next(self, total: Record | None) -> Fitted:
        if total is None:
            raise StepProblem("there is no training row to learn categories of: check dropRows and split")
        counted = self._counts(total)
        remedy = "use method: Hash, which needs no list of them, or leave the column out"
        for column in self.columns:
            counted[column].within(column, remedy)
        if self.choice.method == "Classes":
            return _classes(self.columns, counted)
        learnt = [_category_places(column, counted[column], self.choice) for column in self.columns]
        return Encode(
            self.columns,
            self.choice.method,
            tuple(places for places, _ in learnt),
            tuple(names for _, names in learnt),
            self.choice.unseen_number,
        )

    def _counts(self, record: Record) -> dict[str, Counts]:
        found = parts(record)
        return {column: Counts.of_record(found[str(number)]) for number, column in enumerate(self.columns)}

    def _joined(self, counted: Mapping[str, Counts]) -> Record:
        return joined({str(number): counted[column].record() for number, column in enumerate(self.columns)})

    def record(self) -> Record:
        return Record({"columns": list(self.columns), "choice": asdict(self.choice)})

    @classmethod
    def of_record(cls, record: Record) -> "EncodeFit":
        return cls(tuple(record.notes["columns"]), EncodeChoice(**record.notes["choice"]))


def _category_places(column: str, counts: Counts, choice: EncodeChoice) -> tuple[Places, tuple[str, ...]]:
    """Where a column's categories go, and the names of the places."""
    own_place = choice.method == "OneHot" and counts.missing > 0
    rows = np.append(counts.rows, counts.missing) if own_place else counts.rows
    kept = _kept(rows, choice)
    number = int(kept.sum())
    rare = number if number < len(rows) else None
    absent = {"Error": _BAD, "Ignore": _IGNORED, "Other": _IGNORED if rare is None else rare}[choice.unseen]
    places = np.where(kept, np.cumsum(kept) - 1, number).astype(np.int32)
    words = [f"{column}={each}" for each in _words(counts)]
    if own_place:
        words.append(f"{column} is missing")
    names = [word for word, stays in zip(words, kept.tolist(), strict=True) if stays]
    if rare is not None:
        names.append(f"{column} is rare")
    if choice.method == "OneHot" and len(names) > MAX_FEATURES:
        raise StepProblem(
            f"column {column} would become {len(names):,} features, more than {MAX_FEATURES:,}: keep fewer categories "
            "by top or minCount, or use method: Hash",
            "top",
        )
    if choice.method == "Ordinal":
        missing = _MISSING
    else:
        missing = int(places[-1]) if own_place else absent
    return Places(counts.values, places[: len(counts.values)], missing, absent), tuple(names)


def _kept(rows: np.ndarray, choice: EncodeChoice) -> np.ndarray:
    """bool [k]: the categories that keep a place of their own, as scikit-learn finds them."""
    kept = rows >= (choice.min_count or 0)
    if choice.top is not None and kept.sum() > choice.top:
        # As scikit-learn does it: the order is stable and from the rarest, so of equals the later ones stay.
        kept[np.argsort(rows, kind="stable")[: len(rows) - choice.top]] = False
    return kept


def _classes(columns: tuple[str, ...], counted: Mapping[str, Counts]) -> "Encode":
    for column in columns:
        if not len(counted[column].values):
            raise StepProblem(f"every value of column {column} is missing: there are no classes", "columns")
    return Encode(
        columns,
        "Classes",
        tuple(
            Places(each.values, np.arange(len(each.values), dtype=np.int32), _BAD, _BAD)
            for each in (counted[column] for column in columns)
        ),
        tuple(_words(counted[column]) for column in columns),
    )


def _words(counts: Counts) -> tuple[str, ...]:
    if isinstance(counts.values, tuple):
        return counts.values
    return tuple(numeral(number) for number in counts.values.tolist())


@dataclass(frozen=True, slots=True)
class Encode(Fitted):
    """Each of its columns becomes features (OneHot, float64 [n, k]) or numbers (float64 [n])."""

    columns: tuple[str, ...]
    method: Method
    places: tuple[Places, ...]
    names: tuple[tuple[str, ...], ...]
    """A column's features, categories or classes, by their places."""
    unseen_number: float = -1.0
    name: ClassVar[str] = "encode"

    def reads(self) -> Sequence[str]:
        return self.columns

    def writes(self) -> Sequence[str]:
        return self.columns

    @property
    def drops_rows(self) -> bool:
        return any(each.absent == _BAD or each.missing == _BAD for each in self.places)

    def schema(self, given: Schema) -> Schema:
        return {**given, **dict(zip(self.columns, map(self._type, self.names), strict=True))}

    def _type(self, names: tuple[str, ...]) -> ColumnType:
        if self.method == "OneHot":
            return ColumnType("Number", len(names), names)
        return ColumnType("Class", names=names) if self.method == "Classes" else ColumnType("Number")

    def apply(self, batch: Batch) -> Applied:
        encoded: dict[str, Column] = {}
        refused = []
        for column, places, names in zip(self.columns, self.places, self.names, strict=True):
            at = places.of(batch.columns[column])
            bad = at == _BAD
            if bad.any():
                refused.append(Refused(column, self._reason, bad))
            encoded[column] = one_hot(at, len(names)) if self.method == "OneHot" else self._numbers(at)
        return without(batch, batch.changed(encoded), refused)

    @property
    def _reason(self) -> str:
        if self.method == "Classes":
            return "it is none of the classes of the training rows"
        return "training has not seen this category (unseen: Error)"

    def _numbers(self, places: np.ndarray) -> np.ndarray:
        numbers = places.astype(np.float64)
        numbers[places == _MISSING] = np.nan
        numbers[places == _IGNORED] = self.unseen_number
        return numbers

    def record(self) -> Record:
        learnt = joined({str(number): each.record() for number, each in enumerate(self.places)})
        names: dict[str, np.ndarray] = {}
        for number, each in enumerate(self.names):
            names |= words_to_arrays(f"names.{number}", each)
        notes = {
            "columns": list(self.columns),
            "method": self.method,
            "places": dict(learnt.notes),
            "unseen_number": self.unseen_number,
        }
        return Record(notes, {**learnt.arrays, **names})

    @classmethod
    def of_record(cls, record: Record) -> "Encode":
        notes, arrays = record.notes, record.arrays
        columns = tuple(notes["columns"])
        found = parts(
            Record(
                notes["places"],
                {name: array for name, array in arrays.items() if not name.startswith("names.")},
            )
        )
        return cls(
            columns,
            notes["method"],
            tuple(Places.of_record(found[str(number)]) for number in range(len(columns))),
            tuple(words_of(f"names.{number}", arrays) for number in range(len(columns))),
            float(notes["unseen_number"]),
        )
