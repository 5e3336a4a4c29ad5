"""Text to numbers of tokens: by a byte-level BPE that is learnt of the training rows, or by a given tokenizer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sapflow.preparation.batch import Batch, Column, Text
from sapflow.preparation.byte_pairs import learnt_pairs
from sapflow.preparation.record import Record
from sapflow.preparation.step import Applied, ColumnType, Fit, Fitted, Schema, Step, StepProblem
from sapflow.preparation.steps.columns import one
from sapflow.preparation.steps.word_counts import counts_of_record, record_of, summed, words_counted
from sapflow.preparation.tokenizer_file import ALPHABET, NoTokenizer, opened, padding_of, tokenizer_file
from sapflow.preparation.words import as_byte_characters
from sapflow.spec.preparation.text_steps import TokensSpec

MIN_COUNT = 2
"""A pair of tokens that occurs once in all training rows is not merged."""
_AT_ONCE = 256
"""Texts that are encoded at once: a library's encoding of a text takes many times the memory of its tokens."""


@dataclass(frozen=True, slots=True)
class TokensStep(Step):
    """Makes tokens of text."""

    spec: TokensSpec
    tokenizer: bytes | None = None
    """The file that `spec.tokenizer` names."""

    def begin(self, given: Schema) -> Fit | Fitted:
        spec = self.spec
        column = one(spec.column, given, ("Text",))
        if spec.vocabulary is not None:
            return TokensFit(column, spec.vocabulary, spec.length)
        if self.tokenizer is None:
            raise StepProblem(f"the tokenizer {spec.tokenizer} was not read", "tokenizer")
        try:
            return Tokens(column, spec.length, self.tokenizer, padding_of(self.tokenizer))
        except NoTokenizer as error:
            raise StepProblem(
                f"{spec.tokenizer} is no tokenizer.json that can be used: {error}", "tokenizer"
            ) from error


@dataclass(frozen=True, slots=True)
class TokensFit(Fit):
    """Counts the words of a column of text, in one pass."""

    column: str
    vocabulary: int
    length: int
    name: ClassVar[str] = "tokens"

    def reads(self) -> Sequence[str]:
        return (self.column,)

    def writes(self) -> Sequence[str]:
        return (self.column,)

    def schema(self, given: Schema) -> Schema:
        return {**given, self.column: _type(self.length, self.vocabulary)}

    def collect(self, batch: Batch, before: Record | None) -> Record:
        column = batch.columns[self.column]
        assert isinstance(column, Text)
        counted = [words_counted(column)]
        if before is not None:
            counted.insert(0, counts_of_record(before))
        return record_of(summed(counted))

    def merge(self, records: Sequence[Record]) -> Record:
        return record_of(summed([counts_of_record(record) for record in records]))

    def next(self, total: Record | None) -> Fitted:
        counted = {} if total is None else counts_of_record(total)
        if not counted:
            raise StepProblem(
                f"the training rows have no text in column {self.column} to learn tokens of: give a tokenizer, or "
                "leave the column out",
                "column",
            )
        words = dict(zip(as_byte_characters(counted), counted.values(), strict=True))
        pairs = learnt_pairs(words, ALPHABET, self.vocabulary, MIN_COUNT)
        return Tokens(self.column, self.length, tokenizer_file(pairs, self.length), 0)

    def record(self) -> Record:
        return Record({"column": self.column, "vocabulary": self.vocabulary, "length": self.length})

    @classmethod
    def of_record(cls, record: Record) -> "TokensFit":
        notes = record.notes
        return cls(str(notes["column"]), int(notes["vocabulary"]), int(notes["length"]))


@dataclass(frozen=True, slots=True)
class Tokens(Fitted):
    """A column of text becomes int32 [n, length]: the numbers of its tokens, cut off or padded at the end. A missing
    text is all padding."""

    column: str
    length: int
    tokenizer: bytes
    """A `tokenizer.json`."""
    padding: int
    """The number that is padded with."""
    name: ClassVar[str] = "tokens"

    def reads(self) -> Sequence[str]:
        return (self.column,)

    def writes(self) -> Sequence[str]:
        return (self.column,)

    def schema(self, given: Schema) -> Schema:
        size = opened(self.tokenizer, self.length).get_vocab_size()
        return {**given, self.column: _type(self.length, size)}

    def apply(self, batch: Batch) -> Applied:
        column = batch.columns[self.column]
        assert isinstance(column, Text)
        there = column.codes >= 0
        used, places = np.unique(column.codes[there], return_inverse=True)
        tokens = np.full((len(column), self.length), self.padding, np.int32)
        tokens[there] = self._encoded([column.words[code] for code in used.tolist()])[places]
        made: dict[str, Column] = {self.column: tokens}
        return Applied(batch.changed(made))

    def _encoded(self, texts: Sequence[str]) -> np.ndarray:
        """int32 [k, length]: the tokens of each text."""
        tokenizer = opened(self.tokenizer, self.length)
        encoded = np.full((len(texts), self.length), self.padding, np.int32)
        for begin in range(0, len(texts), _AT_ONCE):
            # What is no Unicode character, half of a surrogate pair, is a question mark, as where words are counted.
            some = [text.encode("utf-8", "replace").decode() for text in texts[begin : begin + _AT_ONCE]]
            for row, encoding in enumerate(tokenizer.encode_batch_fast(some), begin):
                ids = encoding.ids
                encoded[row, : len(ids)] = ids
        return encoded

    def record(self) -> Record:
        notes = {"column": self.column, "length": self.length, "padding": self.padding}
        return Record(notes, {"tokenizer": np.frombuffer(self.tokenizer, np.uint8)})

    @classmethod
    def of_record(cls, record: Record) -> "Tokens":
        notes = record.notes
        return cls(
            str(notes["column"]),
            int(notes["length"]),
            record.arrays["tokenizer"].tobytes(),
            int(notes["padding"]),
        )


def _type(length: int, vocabulary: int) -> ColumnType:
    return ColumnType("Tokens", length, shape=(length,), vocabulary=vocabulary)
