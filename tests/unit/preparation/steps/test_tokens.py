"""Text to tokens."""

import os
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from helpers.fits import assert_rows_alone_are_the_same, batches, fitted, through_record
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from sapflow.preparation.batch import Batch, Text
from sapflow.preparation.step import ColumnType, StepProblem
from sapflow.preparation.steps.registry import step_of
from sapflow.preparation.steps.tokens import Tokens, TokensFit, TokensStep
from sapflow.spec.preparation.prepare import PrepareSpec
from sapflow.spec.preparation.step import StepSpec
from sapflow.spec.preparation.text_steps import TokensSpec

TEXTS = ["the cat sat", None, "the cat, the dog", "", "naïve 日本 cats", "the dogs' 12 34", "the end"] * 3
FIT = TokensFit("text", 280, 6)


def learnt(texts: Sequence[str | None], cuts: Sequence[int] = ()) -> Tokens:
    found = fitted(FIT, [[each] for each in batches({"text": Text.of(texts)}, cuts)])
    assert isinstance(found, Tokens)
    return found


def batch_of(texts: Sequence[str | None]) -> Batch:
    return Batch({"text": Text.of(texts)}, np.arange(len(texts)))


def given_tokenizer() -> bytes:
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "[CLS]": 1, "[PAD]": 2, "cat": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A", special_tokens=[("[CLS]", 1)])
    return tokenizer.to_str().encode()


def test_tokens_are_cut_off_and_padded_and_a_missing_text_is_padding() -> None:
    step = learnt(TEXTS)
    found = np.asarray(step.apply(batch_of(TEXTS)).batch.columns["text"])
    assert found.dtype == np.int32
    assert found.shape == (21, 6)
    theirs = Tokenizer.from_str(step.tokenizer.decode())
    for row, text in zip(found.tolist(), TEXTS, strict=True):
        assert row == ([0] * 6 if text is None else theirs.encode(text).ids)
    assert found.max() >= 257, "some merges were learnt"
    assert step.schema({"text": ColumnType("Text")}) == {
        "text": ColumnType("Tokens", 6, shape=(6,), vocabulary=len(theirs.get_vocab()))
    }
    assert_rows_alone_are_the_same(step, batch_of([*TEXTS, "\ud800 unseen"]))


@settings(max_examples=20, deadline=None)
@given(st.permutations(TEXTS), st.lists(st.integers(1, 20), max_size=4))
def test_how_rows_are_dealt_to_partitions_changes_no_bit(texts: list[str | None], cuts: list[int]) -> None:
    assert learnt(texts, cuts).record().encode() == learnt(TEXTS).record().encode()


@pytest.mark.parametrize("parallel", ["false", "true"])
def test_threads_of_the_library_change_no_bit(parallel: str) -> None:
    code = (
        "import sys, hashlib; sys.path.insert(0, 'tests')\n"
        "from unit.preparation.steps.test_tokens import TEXTS, batch_of, learnt\n"
        "step = learnt(TEXTS)\n"
        "found = step.apply(batch_of(TEXTS * 200)).batch.columns['text']\n"
        "print(hashlib.sha256(step.tokenizer + found.tobytes()).hexdigest())\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={**os.environ, "TOKENIZERS_PARALLELISM": parallel, "PYTHONHASHSEED": "7"},
    )
    import hashlib

    step = learnt(TEXTS)
    found = np.asarray(step.apply(batch_of(TEXTS * 200)).batch.columns["text"])
    assert process.stdout.strip() == hashlib.sha256(step.tokenizer + found.tobytes()).hexdigest()


def test_a_given_tokenizer_adds_its_own_special_tokens_and_pads() -> None:
    spec = TokensSpec(column="text", tokenizer="s3://models/tokenizer.json", length=4)
    step = TokensStep(spec, given_tokenizer()).begin({"text": ColumnType("Text")})
    assert isinstance(step, Tokens)
    batch = batch_of(["cat dog", None, "cat cat cat cat"])
    assert_rows_alone_are_the_same(through_record(step), batch)
    assert np.asarray(step.apply(batch).batch.columns["text"]).tolist() == [
        [1, 3, 0, 2],
        [2, 2, 2, 2],
        [1, 3, 3, 3],
    ]


def test_a_file_that_is_no_tokenizer_is_named() -> None:
    spec = TokensSpec(column="text", tokenizer="s3://models/readme.md", length=4)
    with pytest.raises(StepProblem, match=r"s3://models/readme.md is no tokenizer.json"):
        TokensStep(spec, b"# Read me").begin({"text": ColumnType("Text")})
    with pytest.raises(StepProblem, match="was not read"):
        TokensStep(spec).begin({"text": ColumnType("Text")})


def test_a_vocabulary_is_learnt_of_the_column_that_the_spec_names() -> None:
    spec = TokensSpec(column="text", vocabulary=280, length=6)
    assert TokensStep(spec).begin({"text": ColumnType("Text")}) == FIT
    with pytest.raises(StepProblem, match="no column is called text"):
        TokensStep(spec).begin({"other": ColumnType("Text")})


def test_without_text_there_is_nothing_to_learn() -> None:
    with pytest.raises(StepProblem, match="no text in column text"):
        learnt([None, "", None])
    with pytest.raises(StepProblem, match="no text in column text"):
        FIT.next(None)


def test_the_registry_gives_a_step_the_file_that_it_names() -> None:
    items = [
        StepSpec(tokens=TokensSpec(column=column, tokenizer="s3://models/tokenizer.json", length=4))
        for column in ("text", "title")
    ]
    prepare = PrepareSpec(target="y", steps=items)
    assert prepare.named_files == ("s3://models/tokenizer.json",)
    step = step_of(items[0], "y", {"s3://models/tokenizer.json": given_tokenizer().decode()})
    assert isinstance(step.begin({"text": ColumnType("Text")}), Tokens)
