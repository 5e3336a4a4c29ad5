"""Byte-pair merges, beside those that Hugging Face's tokenizers learns."""

import json
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from sapflow.preparation.byte_pairs import learnt_pairs
from sapflow.preparation.tokenizer_file import ALPHABET

TEXTS = st.integers(2, 20).flatmap(
    lambda letters: st.lists(st.text("abcdefghijklmnopqrst"[:letters] + " ", max_size=60), max_size=30)
)


def counted(texts: list[str]) -> Counter[str]:
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return Counter(word for text in texts for word, _ in cut.pre_tokenize_str(text))


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.sampled_from([257, 258, 270, 400]), st.sampled_from([0, 1, 2, 5]))
def test_merges_are_those_of_hugging_face(texts: list[str], size: int, min_count: int) -> None:
    theirs = Tokenizer(models.BPE())
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=min_count,
        show_progress=False,
        special_tokens=["<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    theirs.train_from_iterator(texts, trainer)
    model = json.loads(theirs.to_str())["model"]
    found = learnt_pairs(counted(texts), ALPHABET, size, min_count)
    assert list(found.tokens) == list(model["vocab"])
    assert [list(pair) for pair in found.merges] == model["merges"]


def test_the_words_order_changes_nothing() -> None:
    words = list(
        {"".join(random.Random(seed).choices("abcd", k=seed % 7 + 1)): seed for seed in range(300)}.items()
    )
    expected = learnt_pairs(dict(words), ALPHABET, 500, 2)
    for seed in range(5):
        random.Random(seed).shuffle(words)
        assert learnt_pairs(dict(words), ALPHABET, 500, 2) == expected


def test_no_words_leave_the_alphabet() -> None:
    assert learnt_pairs({}, ALPHABET, 500, 2).tokens == ALPHABET


def test_a_character_that_is_not_in_the_alphabet_is_refused() -> None:
    with pytest.raises(KeyError):
        learnt_pairs({"日": 1}, ALPHABET, 500, 2)
