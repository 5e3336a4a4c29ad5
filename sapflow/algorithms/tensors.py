"""The tensors of a model on its flat vector, as far as a root must know them. They are metadata of each version."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sapflow.errors import CorruptObject
from sapflow.objects.sums import Sums

_STOP, _COUNT = np.dtype("<i8"), np.dtype("<u4")


@dataclass(frozen=True, slots=True, eq=False)
class Tensors:
    """Where the trained tensors and the averaged buffers end, and how many updates each tensor was left out of.

    An optimiser leaves a tensor without a gradient as it is, as torch does, and the tensor has a number of updates of
    its own: the job's less those that it missed.
    """

    stops: np.ndarray
    """Of trained tensors that have elements, int64 [tensors], in the order of the vector."""
    buffers: np.ndarray
    """Of averaged buffers that have elements, int64 [buffers]; the first begins where the last tensor ends."""
    missed: np.ndarray
    """The number of updates in which each tensor had no gradient, int64 [tensors]."""

    @classmethod
    def of(cls, stops: Sequence[int], buffers: Sequence[int]) -> "Tensors":
        """The tensors of version 0."""
        return cls(np.array(stops, np.int64), np.array(buffers, np.int64), np.zeros(len(stops), np.int64))

    def to_metadata(self) -> dict[str, str]:
        texts = {"tensors": _text(self.stops, _STOP)}
        if len(self.buffers):
            texts["buffers"] = _text(self.buffers, _STOP)
        if self.missed.any():
            texts["missed"] = counted(self.missed)
        return texts

    @classmethod
    def from_metadata(cls, texts: Mapping[str, str]) -> "Tensors":
        """Raises CorruptObject."""
        try:
            stops = _array(texts.get("tensors", ""), _STOP)
            missed = read_counted(texts["missed"]) if "missed" in texts else np.zeros(len(stops), np.int64)
            found = cls(stops, _array(texts.get("buffers", ""), _STOP), missed)
        except ValueError as error:
            raise CorruptObject(f"parameters have broken tensors in their metadata: {error}") from error
        if len(missed) != len(stops):
            raise CorruptObject(f"parameters count updates of {len(missed)} tensors, and have {len(stops)}")
        return found

    def without(self, sums: Sums) -> "Tensors":
        """The tensors after the updates that a contribution stands for. Raises CorruptObject if it is not of them."""
        if sums.counts is None:
            return self
        if len(sums.counts) != len(self.stops):
            raise CorruptObject(
                f"a contribution counts updates of {len(sums.counts)} tensors, and the model has {len(self.stops)}"
            )
        return replace(self, missed=self.missed + (sums.taken - sums.counts))

    def numbers(self, sums: Sums, step: int, start: int, stop: int) -> list[tuple[int, int]] | None:
        """For an update by one gradient: the number of the update, from 1, of each tensor between `start` and `stop`.

        The result is (stop, number) of consecutive ranges, counted from `start`; the number is 0 for tensors without a
        gradient. None: all have the number `step`.
        """
        if sums.counts is None and not self.missed.any():
            return None
        numbers = step - self.missed
        if sums.counts is not None:
            numbers = np.where(sums.counts > 0, numbers, 0)
        return ranges(self.stops, numbers, start, stop)

    def kept_buffers(self, sums: Sums, start: int, stop: int) -> list[slice]:
        """The buffers that no worker changed, as slices of the range from `start` to `stop`."""
        if sums.changed is None:
            return []
        if len(sums.changed) != len(self.buffers):
            raise CorruptObject(
                f"a contribution has flags of {len(sums.changed)} buffers, and the model has {len(self.buffers)}"
            )
        first = int(self.stops[-1]) if len(self.stops) else 0
        begins = np.concatenate(([first], self.buffers[:-1]))
        found = [
            slice(max(int(begin), start) - start, min(int(end), stop) - start)
            for begin, end, changed in zip(begins, self.buffers, sums.changed, strict=True)
            if not changed
        ]
        return [each for each in found if each.start < each.stop]


def ranges(stops: np.ndarray, numbers: np.ndarray, start: int, stop: int) -> list[tuple[int, int]]:
    """(stop, number) of the tensors between `start` and `stop`, counted from `start`; equal neighbours are joined."""
    found: list[tuple[int, int]] = []
    for end, number in zip(stops.tolist(), numbers.tolist(), strict=True):
        if end <= start:
            continue
        if found and found[-1][1] == number:
            found.pop()
        found.append((min(end, stop) - start, number))
        if end >= stop:
            break
    return found


def counted(counts: np.ndarray) -> str:
    """Counts of updates as text: four bytes a tensor."""
    return _text(counts, _COUNT)


def read_counted(text: str) -> np.ndarray:
    """The counts of `counted`, int64 [tensors]. Raises ValueError."""
    return _array(text, _COUNT)


def _text(values: np.ndarray, dtype: np.dtype[np.generic]) -> str:
    return base64.b64encode(values.astype(dtype).tobytes()).decode()


def _array(text: str, dtype: np.dtype[np.generic]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype).astype(np.int64)
