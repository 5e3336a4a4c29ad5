"""Byte-pair merges learnt of counted words (Sennrich, Haddow and Birch 2016, https://arxiv.org/abs/1508.07909).

The words may come in any order: the merges follow from their counts alone. They are those of Hugging Face's
`tokenizers`, which learns only of running text and so not of counts that several functions have made.
"""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

_SHIFT = 24
"""A pair of token numbers is one int: `first << _SHIFT | second`, in whose order ties are decided."""
_SECOND = (1 << _SHIFT) - 1
MAX_TOKENS = 1 << _SHIFT


@dataclass(frozen=True, slots=True)
class BytePairs:
    """Tokens by their numbers, and the pairs of tokens that were merged, in that order."""

    tokens: tuple[str, ...]
    merges: tuple[tuple[str, str], ...]


def learnt_pairs(counts: Mapping[str, int], tokens: Sequence[str], size: int, min_count: int) -> BytePairs:
    """Up to `size` tokens: the given ones, of which those of one character are the alphabet, and merges of them.

    Each merge is that of the most frequent pair of neighbours within words, of equals the one whose tokens have the
    smaller numbers; pairs that occur less than `min_count` times are not merged. Characters of words must be in the
    alphabet.
    """
    learner = _Learner(list(tokens))
    learner.take(counts)
    learner.merge(min(size, MAX_TOKENS), max(1, min_count))
    return BytePairs(tuple(learner.tokens), tuple(learner.merges))


@dataclass(slots=True)
class _Learner:
    tokens: list[str]
    merges: list[tuple[str, str]] = field(default_factory=list)
    words: list[list[int]] = field(default_factory=list)
    """Of each word the tokens that it is made of so far."""
    counts: list[int] = field(default_factory=list)
    pairs: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    """How often each pair occurs."""
    places: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    """The words that have had the pair since it was last merged."""
    heap: list[tuple[int, int]] = field(default_factory=list)
    """(−count, pair), of which some are out of date."""
    numbers: dict[str, int] = field(default_factory=dict)

    def take(self, counts: Mapping[str, int]) -> None:
        self.numbers = {token: number for number, token in enumerate(self.tokens)}
        for word, count in counts.items():
            symbols = [self.numbers[character] for character in word]
            place = len(self.words)
            self.words.append(symbols)
            self.counts.append(count)
            for first, second in itertools.pairwise(symbols):
                self._count(first << _SHIFT | second, count, place)
        self.heap = [(-count, pair) for pair, count in self.pairs.items()]
        heapify(self.heap)

    def _count(self, pair: int, change: int, place: int) -> None:
        self.pairs[pair] += change
        places = self.places[pair]
        if not places or places[-1] != place:
            places.append(place)

    def merge(self, size: int, min_count: int) -> None:
        while len(self.tokens) < size and self.heap:
            believed, pair = heappop(self.heap)
            count = self.pairs.get(pair, 0)
            if count < min_count:
                continue
            if count != -believed:
                heappush(self.heap, (-count, pair))
                continue
            self._merge(pair)

    def _merge(self, pair: int) -> None:
        first, second = pair >> _SHIFT, pair & _SECOND
        token = self.tokens[first] + self.tokens[second]
        merged = self.numbers.get(token)
        if merged is None:
            merged = self.numbers[token] = len(self.tokens)
            self.tokens.append(token)
        self.merges.append((self.tokens[first], self.tokens[second]))
        del self.pairs[pair]
        more: set[int] = set()
        for place in self.places.pop(pair):
            self._rewrite(place, pair, merged, more)
        for each in more:
            heappush(self.heap, (-self.pairs[each], each))

    def _rewrite(self, place: int, pair: int, merged: int, more: set[int]) -> None:
        """Merge the pair within a word, from the left. `more` gets the pairs that have become more."""
        first, second, pairs = pair >> _SHIFT, pair & _SECOND, self.pairs
        word, count = self.words[place], self.counts[place]
        made: list[int] = []
        at, end = 0, len(word)
        while at < end:
            symbol = word[at]
            if symbol != first or at + 1 == end or word[at + 1] != second:
                made.append(symbol)
                at += 1
                continue
            at += 2
            if made:
                pairs[made[-1] << _SHIFT | first] -= count
                left = made[-1] << _SHIFT | merged
                self._count(left, count, place)
                more.add(left)
            if at < end:
                pairs[second << _SHIFT | word[at]] -= count
                right = merged << _SHIFT | word[at]
                self._count(right, count, place)
                more.add(right)
            made.append(merged)
        self.words[place] = made
