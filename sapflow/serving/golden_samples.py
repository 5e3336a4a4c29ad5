"""What is kept of samples that are trained on as they are: what a preparation keeps of raw rows, their columns being
the features."""

import numpy as np

from sapflow.data.chunks import Part
from sapflow.data.manifest import Manifest
from sapflow.data.order import Piece
from sapflow.data.piece_reader import PieceReader
from sapflow.preparation.batch import Batch
from sapflow.preparation.profile import MOST_PARTITIONS, MOST_ROWS, Profile
from sapflow.serving import input_table
from sapflow.serving.description import Description
from sapflow.serving.input_table import InputTable

MOST_VALUES = 1 << 18
"""Values of all kept rows together, at most, if that leaves one row: 2 MiB."""


def profile_of(reader: PieceReader, manifest: Manifest, about: Description) -> Profile:
    """A few held-out samples, else training samples, and the ranges of the features in some blocks of training.

    Raises ObjectMissing, CorruptObject, StoreUnavailable.
    """
    part: Part = "validation" if manifest.validation else "train"
    wanted = max(1, min(MOST_ROWS, MOST_VALUES // max(about.width, about.outputs)))
    samples = reader.read(part, Piece(0, 0, min(wanted, manifest.blocks(part)[0]))).features
    features = _raw(samples, about)
    table = input_table.of_description(about)
    return Profile(
        Batch(_columns(features, table), np.arange(len(features))),
        features if about.origin else samples,
        _ranges(reader, manifest, about, table),
        {},
    )


def _raw(samples: np.ndarray, about: Description) -> np.ndarray:
    """Samples [n, values] as their source has them, in float64: blocks have them less their origin."""
    return samples.astype(np.float64) + (np.array(about.origin) if about.origin else 0.0)


def _columns(features: np.ndarray, table: InputTable) -> dict[str, np.ndarray]:
    """Features as the columns of a table, whose order is theirs."""
    if not table.named:
        return {table.columns[0].name: features}
    return {each.name: features[:, place] for place, each in enumerate(table.columns)}


def _ranges(
    reader: PieceReader, manifest: Manifest, about: Description, table: InputTable
) -> dict[str, tuple[float, float]]:
    """The least and the greatest number by column, of blocks that are spread over those of training."""
    width = about.width
    least, most = np.full(width, np.inf, np.float32), np.full(width, -np.inf, np.float32)
    last = len(manifest.train) - 1
    for number in np.unique(np.linspace(0, last, MOST_PARTITIONS).astype(np.int64)).tolist():
        features = reader.read("train", Piece(number, 0, manifest.train[number])).features
        least, most = np.minimum(least, features.min(axis=0)), np.maximum(most, features.max(axis=0))
    # Blocks have float32: what their source has may lie beyond, by as much as that rounds.
    below = _raw(np.nextafter(least, np.float32(-np.inf))[None], about)
    above = _raw(np.nextafter(most, np.float32(np.inf))[None], about)
    lows, highs = _columns(below, table), _columns(above, table)
    return {name: (float(np.min(lows[name])), float(np.max(highs[name]))) for name in lows}
