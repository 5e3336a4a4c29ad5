"""Tokenizers as data."""

import json

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from sapflow.preparation.byte_pairs import learnt_pairs
from sapflow.preparation.tokenizer_file import ALPHABET, NoTokenizer, opened, padding_of, tokenizer_file

FILE = tokenizer_file(learnt_pairs({"hello": 5, "Ġworld": 3}, ALPHABET, 300, 2), 8)


def test_hugging_face_reads_the_file_and_cuts_and_pads_as_it_says() -> None:
    theirs = Tokenizer.from_str(FILE.decode())
    encoding = theirs.encode("hello world")
    assert encoding.tokens == ["hello", "Ġworld", *["<pad>"] * 6]
    assert len(theirs.encode("x" * 50).ids) == 8
    assert theirs.decode([number for number in encoding.ids if number]) == "hello world"


def test_a_text_that_names_the_padding_is_not_padded_by_it() -> None:
    assert 0 not in opened(FILE, 8).encode("<pad>").ids


def test_padding_is_what_the_file_says_or_a_token_of_a_usual_name() -> None:
    assert padding_of(FILE) == 0
    document = json.loads(FILE)
    assert padding_of(json.dumps(document | {"padding": None}).encode()) == 0
    theirs = Tokenizer(models.WordLevel({"a": 0, "[PAD]": 1}, unk_token="a"))
    theirs.pre_tokenizer = pre_tokenizers.Whitespace()
    assert padding_of(theirs.to_str().encode()) == 1


def test_what_is_no_tokenizer_is_refused() -> None:
    nothing = Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).to_str().encode()
    for data, reason in ((b"{}", None), (b"\xff", "UTF-8"), (b"no", None), (nothing, "no token for padding")):
        with pytest.raises(NoTokenizer, match=reason):
            padding_of(data)
