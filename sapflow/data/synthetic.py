"""Synthetic samples: random binary features, and labels from a random teacher network (case A of the paper)."""

from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np
from pydantic import Field

from sapflow.data.chunks import Chunk, Source
from sapflow.data.options import Options, parse
from sapflow.errors import DataError

CHUNK_ROWS = 8192
HIDDEN = 16
_TEACHER, _SAMPLES = 1, 2


class BinaryOptions(Options):
    """`noise` is the share of labels that are flipped. With `labels: Random` labels do not depend on the features."""

    samples: int = Field(1_000_000, ge=1, le=10**12)
    features: int = Field(20, ge=1, le=65_536)
    noise: float = Field(0.05, ge=0, le=0.5)
    labels: Literal["Teacher", "Random"] = "Teacher"
    seed: int = Field(0, ge=0, lt=2**63)


def source(name: str, options: Mapping[str, object]) -> Source:
    """The source `synthetic:binary`. Raises DataError if the name is unknown or the options do not fit."""
    if name != "binary":
        raise DataError(f"unknown set synthetic:{name}; there is synthetic:binary")
    chosen = parse(BinaryOptions, options, "synthetic:binary")

    def chunks() -> Iterator[Chunk]:
        for index, start in enumerate(range(0, chosen.samples, CHUNK_ROWS)):
            features, labels = binary_chunk(chosen, index)
            yield Chunk(features, labels, "synthetic:binary", start)

    return Source("synthetic:binary", chunks, task="classification", classes=2)


def binary_chunk(options: BinaryOptions, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples from number `index`·8192 on, drawn from a random stream of their own.

    Features are uint8 [n, f] of 0 and 1, labels uint8 [n].
    """
    count = min(CHUNK_ROWS, options.samples - index * CHUNK_ROWS)
    stream = np.random.Philox(np.random.SeedSequence((options.seed, _SAMPLES, index)))
    words = stream.random_raw(-(-count * options.features // 64)).view(np.uint8)
    features = np.unpackbits(words, count=count * options.features).reshape(count, options.features)
    draws = stream.random_raw(count)
    if options.labels == "Random":
        return features, (draws & np.uint64(1)).astype(np.uint8)
    flips = draws < np.uint64(int(options.noise * 2**64))
    return features, (_teacher(features, options.seed) ^ flips).astype(np.uint8)


def _teacher(features: np.ndarray, seed: int) -> np.ndarray:
    """bool [n]: the sign of a random network with one hidden layer of clipped units.

    Weights are small integers, so sums are exact in float64 and labels are the same on every machine. Each layer is an
    odd function and features are centred, so both classes are equally frequent.
    """
    count = features.shape[1]
    stream = np.random.Philox(np.random.SeedSequence((seed, _TEACHER)))
    weights = (stream.random_raw((count + 1) * HIDDEN) % np.uint64(15)).astype(np.float64) - 7
    hidden = (2.0 * features - 1.0) @ weights[HIDDEN:].reshape(count, HIDDEN)
    limit = float(int(4 * count**0.5))
    outputs = np.clip(hidden, -limit, limit) @ (2.0 * weights[:HIDDEN] + 1.0)
    return np.asarray(outputs > 0)
