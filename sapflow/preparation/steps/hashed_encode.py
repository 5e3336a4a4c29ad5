"""Categories to a fixed number of features by a hash of their text: nothing is learnt, and none is unseen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sapflow.preparation.batch import Batch, Column, Text
from sapflow.preparation.murmur import buckets_of
from sapflow.preparation.numerals import numerals
from sapflow.preparation.record import Record
from sapflow.preparation.step import Applied, ColumnType, Fitted, Schema
from sapflow.preparation.steps.places import one_hot


@dataclass(frozen=True, slots=True)
class HashedEncode(Fitted):
    """Each of its columns becomes `buckets` features, of which a row has 1 in that of its category (float64
    [n, buckets]), and nothing where it is missing.

    As scikit-learn's FeatureHasher(input_type="string", alternate_sign=False); numbers are hashed as numerals."""

    columns: tuple[str, ...]
    buckets: int
    name: ClassVar[str] = "hashedEncode"

    def reads(self) -> Sequence[str]:
        return self.columns

    def writes(self) -> Sequence[str]:
        return self.columns

    def schema(self, given: Schema) -> Schema:
        return {
            **given,
            **{
                column: ColumnType(
                    "Number",
                    self.buckets,
                    tuple(f"{column} in bucket {number}" for number in range(self.buckets)),
                )
                for column in self.columns
            },
        }

    def apply(self, batch: Batch) -> Applied:
        encoded: dict[str, Column] = {}
        for column in self.columns:
            given = batch.columns[column]
            text = given if isinstance(given, Text) else numerals(np.asarray(given))
            places = np.append(buckets_of(text.words, self.buckets), -1)[text.codes]
            encoded[column] = one_hot(places, self.buckets)
        return Applied(batch.changed(encoded))

    def record(self) -> Record:
        return Record({"columns": list(self.columns), "buckets": self.buckets})

    @classmethod
    def of_record(cls, record: Record) -> "HashedEncode":
        return cls(tuple(record.notes["columns"]), int(record.notes["buckets"]))
