"""Long sequences, a few at a time."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batched(values: Iterable[T], count: int) -> Iterator[tuple[T, ...]]:
    """The values in tuples of `count`, the last of which may be shorter (itertools has it from Python 3.12 on)."""
    rest = iter(values)
    while some := tuple(islice(rest, count)):
        yield some
