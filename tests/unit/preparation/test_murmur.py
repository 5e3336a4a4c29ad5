"""MurmurHash3 of words."""

from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils import murmurhash3_32

from sapflow.preparation.murmur import buckets_of, hashes


@given(st.lists(st.one_of(st.text(max_size=20), st.text(min_size=80, max_size=400)), max_size=30))
def test_hashes_are_those_of_scikit_learn(words: list[str]) -> None:
    assert hashes(words).tolist() == [murmurhash3_32(word.encode(), 0, positive=True) for word in words]


def test_hashes_are_those_that_the_algorithm_is_known_by() -> None:
    assert hashes(["", "a", "hello", "hello, world"]).tolist() == [0, 0x3C2569B2, 0x248BFA47, 0x149BBB7F]


def test_buckets_lie_within_their_number() -> None:
    assert set(buckets_of([str(number) for number in range(1000)], 7).tolist()) == set(range(7))
