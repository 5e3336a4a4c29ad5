"""A fitted preparation: what reads raw rows, the steps with all that they have learnt, and how samples are made.

It is data, one object of JSON and arrays beside the model. Training and prediction apply this very object, so the
features of the same row are equal bit for bit.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from sapflow.errors import CorruptObject, DataError
from sapflow.preparation.batch import Batch
from sapflow.preparation.pipeline import Classes, Pipeline, State
from sapflow.preparation.reading.reader import Plan
from sapflow.preparation.record import Record, joined, parts
from sapflow.preparation.samples import Made, Samples, made, pieces
from sapflow.preparation.step import Fit, Fitted
from sapflow.preparation.steps.selection import Renamed

VERSION = 1
_ABOUT, _STATE = "about", "state"
_TOLERANT = ("cast", "drop", "dropRows", "rename")
"""Steps that leave a column that is not there alone."""


@dataclass(frozen=True, slots=True)
class FittedPreparation:
    """From raw rows to samples."""

    plan: Plan
    """How the source was read; it has no partitions."""
    state: State
    samples: Samples

    def record(self) -> Record:
        """The preparation as data."""
        # Steps have learnt what they need of the files that they name, and other files are read later; notes must stay
        # small.
        plan = self.plan.model_dump(mode="json", exclude={"named_files", "to_index", "unpacked"})
        return joined(
            {
                _ABOUT: Record({"version": VERSION, "plan": plan, "samples": asdict(self.samples)}),
                _STATE: self.state.record(),
            }
        )

    @classmethod
    def of_record(cls, record: Record, classes: Classes) -> "FittedPreparation":
        """The preparation that `record` was made from. Raises CorruptObject."""
        try:
            found = parts(record)
            about = found[_ABOUT].notes
            if about["version"] != VERSION:
                raise ValueError(f"its version is {about['version']}, and this release reads {VERSION}")
            samples: Mapping[str, Any] = about["samples"]
            return cls(
                Plan.model_validate(about["plan"]),
                State.of_record(found[_STATE], classes),
                Samples(
                    samples["kind"],
                    tuple(samples["features"]),
                    tuple(samples["names"]),
                    tuple(samples["shape"]),
                    samples["target"],
                    int(samples["target_width"]),
                    None if samples["classes"] is None else tuple(samples["classes"]),
                ),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptObject(f"this is no fitted preparation: {error!r}") from error

    def for_rows(self, lacking: Collection[str]) -> "FittedPreparation":
        """The preparation of rows that are not dealt and lack some columns, the target for one: what is only for these
        is left out. Raises DataError where features follow from them."""
        absent = set(lacking)
        stages: list[Fit | Fitted | None] = []
        for number, stage in enumerate(self.state.stages):
            assert isinstance(stage, Fitted), "all is fitted"
            if number == 0:
                continue
            reads = set(stage.reads())
            if not reads & absent or stage.name in _TOLERANT:
                stages.append(stage)
                if isinstance(stage, Renamed):
                    absent = {stage.names.get(name, name) for name in absent}
                continue
            if not reads <= absent:
                names = ", ".join(sorted(reads & absent))
                raise DataError(
                    f"step {number} ({stage.name}) of the preparation reads {names}: give rows that have it"
                )
            absent.update(stage.writes())
        needed = absent.intersection(self.samples.features)
        if needed:
            raise DataError(
                f"features follow from columns that the rows lack: {', '.join(sorted(lacking))}; give rows that have "
                f"them, or the raw rows as they were trained on (the feature is {', '.join(sorted(needed))})"
            )
        samples = replace(self.samples, target=None, classes=None)
        return FittedPreparation(self.plan, State(tuple(stages)), samples)

    def of(self, batch: Batch) -> list[Made]:
        """The samples of raw rows, in pieces; each names its bad rows. Bits do not follow from the batch's size."""
        return [sampled(self.state, self.samples, each) for each in pieces(batch, self.samples.rows_at_once)]


def sampled(state: State, samples: Samples, batch: Batch, *, features: bool = True) -> Made:
    """The samples of at most `rows_at_once` raw rows, where all steps are fitted; see `made`."""
    applied = Pipeline.apply(state, batch)
    found = made(samples, applied.batch, features=features)
    return replace(found, bad=(*applied.bad, *found.bad))


def digest(data: bytes) -> str:
    """The SHA-256 of a preparation's object, by which a model names it."""
    return hashlib.sha256(data).hexdigest()
