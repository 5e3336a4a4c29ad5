"""A tokenizer as data: the bytes of a `tokenizer.json` as Hugging Face's `tokenizers` has it."""

import json
from functools import lru_cache
from typing import TYPE_CHECKING

from sapflow.preparation.byte_pairs import BytePairs
from sapflow.preparation.words import byte_characters

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PADDING = "<pad>"
"""The token of number 0 of a tokenizer that is learnt. No text is ever cut into it."""
ALPHABET = (PADDING, *sorted(byte_characters()))
"""The tokens that there are before anything is learnt: padding, and one for each byte."""
_PADDING_NAMES = (PADDING, "[PAD]", "<|pad|>", "<|endoftext|>")


class NoTokenizer(ValueError):
    """A file is no tokenizer, or has no token for padding."""


def tokenizer_file(pairs: BytePairs, length: int) -> bytes:
    """The file of a byte-level BPE that pads and cuts texts to `length` tokens. It has the same bytes everywhere."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    document: dict[str, object] = {
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": length, "strategy": "LongestFirst", "stride": 0},
        "padding": {
            "strategy": {"Fixed": length},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": PADDING,
        },
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: number for number, token in enumerate(pairs.tokens)},
            "merges": [list(pair) for pair in pairs.merges],
        },
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def padding_of(data: bytes) -> int:
    """The number of the token that texts are padded with. Raises NoTokenizer."""
    tokenizer = opened(data, 1)
    given = json.loads(data).get("padding")
    if isinstance(given, dict):
        return int(given["pad_id"])
    for name in _PADDING_NAMES:
        number = tokenizer.token_to_id(name)
        if number is not None:
            return int(number)
    raise NoTokenizer(f"it has no token for padding: none is called {', '.join(_PADDING_NAMES)}")


@lru_cache(maxsize=4)
def opened(data: bytes, length: int) -> "Tokenizer":
    """The tokenizer of a file, which cuts texts to `length` tokens and pads none. Raises NoTokenizer."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(data.decode())
        tokenizer.enable_truncation(length)
    except UnicodeDecodeError as error:
        raise NoTokenizer("it is no text in UTF-8") from error
    except Exception as error:  # tokenizers raises nothing more special
        raise NoTokenizer(str(error)) from error
    tokenizer.no_padding()
    return tokenizer
