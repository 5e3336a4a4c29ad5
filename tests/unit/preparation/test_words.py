"""Words of texts, beside those of Hugging Face's tokenizers."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from sapflow.preparation.words import as_byte_characters, byte_characters, pattern

CHARACTERS = st.one_of(
    st.sampled_from("ab Z'sl19._-\t\n\r\x85\u3000é日"), st.characters(exclude_categories=("Cs", "Cn", "Co"))
).filter(lambda character: unicodedata.category(character) != "Cn")


@given(st.text(CHARACTERS, max_size=40))
def test_words_are_those_of_hugging_face(text: str) -> None:
    theirs = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text)
    assert as_byte_characters(pattern().findall(text)) == [word for word, _ in theirs]


def test_the_characters_of_bytes_are_those_of_hugging_face() -> None:
    assert sorted(byte_characters()) == sorted(pre_tokenizers.ByteLevel.alphabet())


@given(st.text())
def test_words_put_together_are_the_text(text: str) -> None:
    assert "".join(pattern().findall(text)) == text


def test_half_of_a_surrogate_pair_is_a_question_mark() -> None:
    assert as_byte_characters(["a\ud800"]) == ["a?"]
