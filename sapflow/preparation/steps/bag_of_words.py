"""Text to features of how often terms are in it: counts, or TF-IDF; of the most frequent terms, or of buckets of them.

Semantics are those of scikit-learn's CountVectorizer, TfidfVectorizer and HashingVectorizer (with `norm=None` and
`alternate_sign=False`). Of terms that are equally frequent, the one that comes first by code point is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import ClassVar

import numpy as np

from sapflow.preparation.batch import Batch, Column, Text
from sapflow.preparation.murmur import buckets_of
from sapflow.preparation.record import Record, joined, parts, words_of, words_to_arrays
from sapflow.preparation.step import Applied, ColumnType, Fit, Fitted, Schema, Step, StepProblem
from sapflow.preparation.steps.columns import resolve
from sapflow.preparation.steps.places import Places
from sapflow.preparation.steps.terms import TermCounts, distinct, summed, terms_counted, terms_in_order
from sapflow.spec.preparation.text_steps import BagOfWordsSpec


@dataclass(frozen=True, slots=True)
class BagOfWordsStep(Step):
    """Makes features of the terms of texts. No pattern means the target."""

    spec: BagOfWordsSpec
    target: str

    def begin(self, given: Schema) -> Fit | Fitted:
        spec = self.spec
        columns = resolve(spec.columns, given, ("Text",), spared=self.target)
        weighted = spec.weights == "TfIdf"
        if spec.top is not None:
            return TermFit(columns, spec.top, weighted)
        assert spec.buckets is not None, "the rules of the spec see to it"
        if weighted:
            return BucketFit(columns, spec.buckets)
        return BagOfWords(columns, (Bag(spec.buckets),) * len(columns))


@dataclass(frozen=True, slots=True)
class TermFit(Fit):
    """Counts the terms of its columns, in one pass."""

    columns: tuple[str, ...]
    top: int
    weighted: bool
    name: ClassVar[str] = "bagOfWords"

    def reads(self) -> Sequence[str]:
        return self.columns

    def writes(self) -> Sequence[str]:
        return self.columns

    def schema(self, given: Schema) -> Schema:
        return {**given, **dict.fromkeys(self.columns, ColumnType("Number"))}

    def collect(self, batch: Batch, before: Record | None) -> Record:
        found = [terms_counted(_text(batch, column)) for column in self.columns]
        rows = len(batch)
        if before is not None:
            found = [summed([one, other]) for one, other in zip(self._counts(before), found, strict=True)]
            rows += before.notes["rows"]["rows"]
        return self._joined(found, rows)

    def merge(self, records: Sequence[Record]) -> Record:
        columns = zip(*map(self._counts, records), strict=True)
        return self._joined(
            [summed(each) for each in columns], sum(each.notes["rows"]["rows"] for each in records)
        )

    def next(self, total: Record | None) -> Fitted:
        if total is None:
            raise _no_rows()
        bags = []
        for column, counts in zip(self.columns, self._counts(total), strict=True):
            counts.within(column)
            if not counts.terms:
                raise StepProblem(
                    f"the training rows have no words in column {column}: leave it out", "columns"
                )
            kept = np.sort(np.argsort(-counts.times, kind="stable")[: self.top])
            terms = tuple(counts.terms[place] for place in kept.tolist())
            weights = _inverse_frequencies(total.notes["rows"]["rows"], counts.rows[kept])
            bags.append(Bag(len(terms), terms, weights if self.weighted else None))
        return BagOfWords(self.columns, tuple(bags))

    def _counts(self, record: Record) -> list[TermCounts]:
        found = parts(record)
        return [TermCounts.of_record(found[str(number)]) for number in range(len(self.columns))]

    def _joined(self, counts: Sequence[TermCounts], rows: int) -> Record:
        several = {str(number): each.record() for number, each in enumerate(counts)}
        return joined({"rows": Record({"rows": rows}), **several})

    def record(self) -> Record:
        return Record({"columns": list(self.columns), "top": self.top, "weighted": self.weighted})

    @classmethod
    def of_record(cls, record: Record) -> "TermFit":
        notes = record.notes
        return cls(tuple(notes["columns"]), int(notes["top"]), bool(notes["weighted"]))


@dataclass(frozen=True, slots=True)
class BucketFit(Fit):
    """Counts for each bucket in how many rows one of its terms is, in one pass."""

    columns: tuple[str, ...]
    buckets: int
    name: ClassVar[str] = "bagOfWords"

    def reads(self) -> Sequence[str]:
        return self.columns

    def writes(self) -> Sequence[str]:
        return self.columns

    def schema(self, given: Schema) -> Schema:
        return {**given, **dict.fromkeys(self.columns, ColumnType("Number", self.buckets))}

    def collect(self, batch: Batch, before: Record | None) -> Record:
        rows = np.stack([self._rows(_text(batch, column)) for column in self.columns])
        record = Record({"rows": len(batch)}, {"rows": rows})
        return record if before is None else self.merge([before, record])

    def _rows(self, column: Text) -> np.ndarray:
        """int64 [buckets]: how many rows have something there."""
        texts, numbers = distinct(column)
        places, _ = Bag(self.buckets).features(texts)
        rows = np.bincount(numbers[numbers >= 0], minlength=len(texts))
        found = np.zeros(self.buckets, np.int64)
        np.add.at(found, places % self.buckets, rows[places // self.buckets])
        return found

    def merge(self, records: Sequence[Record]) -> Record:
        return Record(
            {"rows": sum(each.notes["rows"] for each in records)},
            {"rows": np.sum([each.arrays["rows"] for each in records], axis=0)},
        )

    def next(self, total: Record | None) -> Fitted:
        if total is None:
            raise _no_rows()
        bags = [
            Bag(self.buckets, None, _inverse_frequencies(total.notes["rows"], rows))
            for rows in total.arrays["rows"]
        ]
        return BagOfWords(self.columns, tuple(bags))

    def record(self) -> Record:
        return Record({"columns": list(self.columns), "buckets": self.buckets})

    @classmethod
    def of_record(cls, record: Record) -> "BucketFit":
        return cls(tuple(record.notes["columns"]), int(record.notes["buckets"]))


@dataclass(frozen=True, slots=True)
class Bag:
    """How the texts of a column become features."""

    width: int
    """The number of features."""
    terms: tuple[str, ...] | None = None
    """A term for each feature; None: terms are hashed to buckets."""
    weights: np.ndarray | None = None
    """float64 [width]: what a count is multiplied with before a text's features are brought to the norm 1."""

    def features(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """What is not nought: places (int64 [k], text × width + feature, increasing), and counts (float64 [k])."""
        terms, whose, numbers = terms_in_order(texts)
        if self.terms is None:
            features = buckets_of(terms, self.width)
        else:
            known = Places(self.terms, np.arange(self.width, dtype=np.int32), -1)
            features = known.of(Text(np.arange(len(terms), dtype=np.int32), terms)).astype(np.int64)
        features = features[numbers]
        kept = features >= 0
        places, times = np.unique(whose[kept] * self.width + features[kept], return_counts=True)
        return places, times.astype(np.float64)

    def of(self, texts: Sequence[str]) -> np.ndarray:
        """float64 [k, width]: the features of each text."""
        places, values = self.features(texts)
        if self.weights is not None:
            values = values * self.weights[places % self.width]
            # One after the other, in the order of the features: the sum is the same in every batch.
            squares = np.bincount(places // self.width, values * values, len(texts))
            values = values / np.sqrt(squares)[places // self.width]
        features = np.zeros(len(texts) * self.width)
        features[places] = values
        return features.reshape(len(texts), self.width)

    def names(self, column: str) -> tuple[str, ...]:
        """A name for each feature."""
        if self.terms is not None:
            return tuple(f"{column}: {term}" for term in self.terms)
        return tuple(f"{column} in bucket {number}" for number in range(self.width))


@dataclass(frozen=True, slots=True)
class BagOfWords(Fitted):
    """Each of its columns of text becomes features, float64 [n, k]. A missing text has nothing in all of them."""

    columns: tuple[str, ...]
    bags: tuple[Bag, ...]
    name: ClassVar[str] = "bagOfWords"

    def reads(self) -> Sequence[str]:
        return self.columns

    def writes(self) -> Sequence[str]:
        return self.columns

    def schema(self, given: Schema) -> Schema:
        made = {
            column: ColumnType("Number", bag.width, bag.names(column))
            for column, bag in zip(self.columns, self.bags, strict=True)
        }
        return {**given, **made}

    def apply(self, batch: Batch) -> Applied:
        made: dict[str, Column] = {}
        for column, bag in zip(self.columns, self.bags, strict=True):
            texts, numbers = distinct(_text(batch, column))
            made[column] = bag.of([*texts, ""])[numbers]
        return Applied(batch.changed(made))

    def record(self) -> Record:
        arrays: dict[str, np.ndarray] = {}
        for number, bag in enumerate(self.bags):
            if bag.terms is not None:
                arrays |= words_to_arrays(f"{number}.terms", bag.terms)
            if bag.weights is not None:
                arrays[f"{number}.weights"] = bag.weights
        notes = {
            "columns": list(self.columns),
            "widths": [bag.width for bag in self.bags],
            "listed": [bag.terms is not None for bag in self.bags],
        }
        return Record(notes, arrays)

    @classmethod
    def of_record(cls, record: Record) -> "BagOfWords":
        notes, arrays = record.notes, record.arrays
        bags = [
            Bag(
                int(width),
                words_of(f"{number}.terms", arrays) if listed else None,
                arrays.get(f"{number}.weights"),
            )
            for number, (width, listed) in enumerate(zip(notes["widths"], notes["listed"], strict=True))
        ]
        return cls(tuple(notes["columns"]), tuple(bags))


def _text(batch: Batch, column: str) -> Text:
    found = batch.columns[column]
    assert isinstance(found, Text)
    return found


def _no_rows() -> StepProblem:
    return StepProblem("there is no training row to learn words of: check dropRows and split")


def _inverse_frequencies(rows: int, frequencies: np.ndarray) -> np.ndarray:
    """float64 [k]: ln((1 + rows) / (1 + frequency)) + 1, where a term is in `frequency` of `rows` rows. The logarithm
    is that of decimal arithmetic: libraries of mathematics differ in the last bit."""
    different, places = np.unique(frequencies, return_inverse=True)
    context = Context(prec=40)
    logarithms = [
        float(context.ln(context.divide(Decimal(1 + rows), Decimal(1 + frequency)))) + 1.0
        for frequency in different.tolist()
    ]
    return np.array(logarithms)[places]
