"""What is kept of raw rows once they are prepared: a few of them with their features, and what columns hold.

A served model is checked against these rows, and requests are compared with what columns held in training. All follows
from the first batches of up to MOST_PARTITIONS partitions.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from sapflow.errors import CorruptObject
from sapflow.preparation import stored_batch
from sapflow.preparation.batch import Batch, Text
from sapflow.preparation.fitted import sampled
from sapflow.preparation.pipeline import State
from sapflow.preparation.record import Record
from sapflow.preparation.samples import Samples, pieces

VERSION = 1
MOST_ROWS = 16
MOST_PARTITIONS = 16
MOST_WORDS = 1000
"""Columns of more different texts are not kept track of."""
_TRIED = 256
"""So many rows are prepared to find MOST_ROWS that can be used."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What is known of the raw rows of training."""

    rows: Batch
    """A few of them, all of which can be used."""
    features: np.ndarray
    """uint8 or float32 [n, *shape]: their samples, before features are scaled."""
    ranges: Mapping[str, tuple[float, float]]
    """The least and the greatest number, by column."""
    seen: Mapping[str, tuple[str, ...]]
    """The texts, by column, of those that have few."""

    def record(self) -> Record:
        """The profile as data; the same profile has the same bytes."""
        batch = b"".join(stored_batch.encode(self.rows))
        notes = {
            "version": VERSION,
            "ranges": {name: list(each) for name, each in sorted(self.ranges.items())},
            "seen": {name: list(each) for name, each in sorted(self.seen.items())},
        }
        return Record(notes, {"rows": np.frombuffer(batch, np.uint8), "features": self.features})

    @classmethod
    def of_record(cls, record: Record, key: str) -> "Profile":
        """The profile of a record. Raises CorruptObject."""
        try:
            notes = record.notes
            if notes["version"] != VERSION:
                raise ValueError(f"its version is {notes['version']}, and this release reads {VERSION}")
            batch = stored_batch.decode(record.arrays["rows"].tobytes(), key)
            ranges = {
                str(name): (float(least), float(most)) for name, (least, most) in notes["ranges"].items()
            }
            seen = {str(name): tuple(map(str, each)) for name, each in notes["seen"].items()}
            features = record.arrays["features"]
            if len(features) != len(batch):
                raise ValueError("it has not as many samples as rows")
            return cls(batch, features, ranges, seen)
        except (KeyError, TypeError, ValueError, AttributeError, json.JSONDecodeError) as error:
            raise CorruptObject(
                f"object {key} is no profile of raw rows of this release's: {error}"
            ) from error


def profile(batches: Iterable[Batch], state: State, samples: Samples) -> Profile | None:
    """The profile of parsed batches, where all steps are fitted; None where no row of the first ones can be used."""
    found: tuple[Batch, np.ndarray] | None = None
    ranges: dict[str, tuple[float, float]] = {}
    seen: dict[str, set[str]] = {}
    for batch in batches:
        if found is None:
            found = _usable(batch, state, samples)
        for name, column in batch.columns.items():
            if name == samples.target:
                continue
            if isinstance(column, Text):
                words = seen.setdefault(name, set())
                if len(words) <= MOST_WORDS:
                    words.update(
                        column.words[code] for code in np.unique(column.codes[column.codes >= 0]).tolist()
                    )
            elif isinstance(column, np.ndarray) and column.dtype == np.float64 and column.ndim == 1:
                there = column[np.isfinite(column)]
                if len(there):
                    least, most = ranges.get(name, (np.inf, -np.inf))
                    ranges[name] = (min(least, float(there.min())), max(most, float(there.max())))
    if found is None:
        return None
    few = {name: tuple(sorted(words)) for name, words in seen.items() if len(words) <= MOST_WORDS}
    return Profile(*found, ranges, few)


def _usable(batch: Batch, state: State, samples: Samples) -> tuple[Batch, np.ndarray] | None:
    """Rows of a batch that give samples, spread over its first _TRIED, and these."""
    if not len(batch):
        return None
    first = batch.take(np.arange(min(len(batch), _TRIED)))
    for piece in pieces(first, samples.rows_at_once):
        made = sampled(state, samples, piece)
        if len(made.numbers):
            chosen = np.unique(np.linspace(0, len(made.numbers) - 1, MOST_ROWS).astype(np.int64))
            rows = np.flatnonzero(np.isin(piece.numbers, made.numbers[chosen]))
            # A model says nothing of the files that its rows came from.
            kept = replace(piece.take(rows), origins=None)
            return (kept if samples.target is None else kept.without([samples.target])), made.features[chosen]
    return None
