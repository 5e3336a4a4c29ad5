"""How much memory an action takes, whatever else lives in the process of the tests."""

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TRIES = 3


def peak_bytes(action: Callable[[], object], enough: int = 0) -> int:
    """The most bytes of Python's and numpy's memory at once that `action` takes.

    Threads that earlier tests left add to it, and so does cyclic garbage, which the collector leaves longer the more
    objects there are. So the least of several tries counts, with only the action's own objects before the collector.
    A peak below `enough` needs no other try.
    """
    least = _peak(action)
    for _ in range(1, TRIES):
        if least < enough:
            break
        least = min(least, _peak(action))
    return least


def _peak(action: Callable[[], object]) -> int:
    with _only_new_objects():
        tracemalloc.start()
        try:
            result = action()
            peak = tracemalloc.get_traced_memory()[1]
            del result
            return peak
        finally:
            tracemalloc.stop()


@contextmanager
def _only_new_objects() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
