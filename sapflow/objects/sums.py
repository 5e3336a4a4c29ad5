"""The scalars of a contribution, and which tensors took part in it. They are its metadata, as text."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from sapflow.errors import CorruptObject

_COUNT = np.dtype("<u4")


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """The number of samples as `weight`, their summed `losses` in float64, and what a sum cannot express."""

    weight: int
    losses: Mapping[str, float] = field(default_factory=dict)
    raw: bytes = b""
    """The bytes of the buffers that are not averaged, of the first rank; empty where they are the base version's."""
    taken: int = 1
    """The number of optimiser updates that the contribution stands for: local steps, or 1 for a gradient."""
    counts: np.ndarray | None = None
    """For each trained tensor, int64 [tensors]: in how many of the updates it had a gradient. None: in all of them."""
    changed: np.ndarray | None = None
    """For each averaged buffer, bool [buffers]: whether a worker changed it. None: each of them."""

    def __add__(self, other: "Sums") -> "Sums":
        """The sum of both. A tensor took part, and a buffer changed, where it did so in either."""
        losses = {name: value + other.losses[name] for name, value in self.losses.items()}
        taken = max(self.taken, other.taken)
        return Sums(
            self.weight + other.weight,
            losses,
            self.raw,
            taken,
            _greatest(self, other, taken),
            _either(self.changed, other.changed),
        )

    def to_metadata(self) -> dict[str, str]:
        texts = {f"loss.{name}": value.hex() for name, value in self.losses.items()}
        texts["weight"] = str(self.weight)
        if self.raw:
            texts["raw"] = base64.b64encode(self.raw).decode()
        if self.taken != 1:
            texts["taken"] = str(self.taken)
        if self.counts is not None:
            texts["counts"] = _bits(self.counts > 0) if self.taken == 1 else _words(self.counts)
        if self.changed is not None:
            texts["changed"] = _bits(self.changed)
        return texts

    @classmethod
    def from_metadata(cls, texts: Mapping[str, str], key: str) -> "Sums":
        try:
            taken = int(texts.get("taken", 1))
            return cls(
                int(texts["weight"]),
                {n[5:]: float.fromhex(text) for n, text in texts.items() if n.startswith("loss.")},
                base64.b64decode(texts.get("raw", "")),
                taken,
                _read_counts(texts.get("counts"), taken),
                _read_bits(texts.get("changed")),
            )
        except (KeyError, ValueError) as error:
            raise CorruptObject(f"object {key} has broken sums in its metadata: {error}") from error


def _greatest(one: Sums, other: Sums, taken: int) -> np.ndarray | None:
    """Of each tensor the larger count: a step of several workers takes as many updates as the longest share."""
    if one.counts is None and other.counts is None:
        return None
    mine = one.taken if one.counts is None else one.counts
    theirs = other.taken if other.counts is None else other.counts
    counts = np.maximum(mine, theirs)
    return None if (counts == taken).all() else counts


def _either(one: np.ndarray | None, other: np.ndarray | None) -> np.ndarray | None:
    if one is None or other is None:
        return None
    both: np.ndarray = one | other
    return None if both.all() else both


def _bits(flags: np.ndarray) -> str:
    """One bit for each flag, behind their number."""
    return f"{len(flags)}:{base64.b64encode(np.packbits(flags).tobytes()).decode()}"


def _read_bits(text: str | None) -> np.ndarray | None:
    if text is None:
        return None
    count, _, encoded = text.partition(":")
    packed = np.frombuffer(base64.b64decode(encoded), np.uint8)
    if len(packed) != -(-int(count) // 8):
        raise ValueError(f"{count} flags in {len(packed)} bytes")
    return np.unpackbits(packed, count=int(count)).astype(bool)


def _words(counts: np.ndarray) -> str:
    return base64.b64encode(counts.astype(_COUNT).tobytes()).decode()


def _read_counts(text: str | None, taken: int) -> np.ndarray | None:
    if taken == 1:
        flags = _read_bits(text)
        return None if flags is None else flags.astype(np.int64)
    return None if text is None else np.frombuffer(base64.b64decode(text), _COUNT).astype(np.int64)
