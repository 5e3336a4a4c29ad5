"""A model that is ready to answer: raw rows in, outputs and decisions out. Nothing here knows requests or protocols."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sapflow.errors import CorruptObject, DataError
from sapflow.objects import safetensor
from sapflow.preparation.batch import Batch
from sapflow.preparation.fitted import FittedPreparation
from sapflow.preparation.fitted_file import of_file
from sapflow.serving import input_table
from sapflow.serving.decisions import Decision, Decisions
from sapflow.serving.description import Description, described
from sapflow.serving.input_table import InputTable
from sapflow.serving.network import Network, network
from sapflow.serving.raw_rows import RawRows
from sapflow.serving.refusal import BadRow
from sapflow.spec.serving.decision import DecisionSpec


@dataclass(frozen=True, slots=True)
class Computed:
    """What a model gives for some rows."""

    outputs: np.ndarray
    """float32 [n, outputs]; of no use in bad rows."""
    features: np.ndarray
    """[n, *inputs] as the preparation makes them, before they are scaled; of no use in bad rows."""
    bad: tuple[BadRow, ...]


class ServedModel:
    """One version of a model."""

    def __init__(
        self,
        about: Description,
        network: Network,
        preparation: FittedPreparation | None,
        decision: DecisionSpec | None,
    ) -> None:
        """Raises SpecError where the decision is not about such a model, CorruptObject where its task is unknown."""
        self.about, self._network = about, network
        self.decisions = Decisions(about, decision)
        self.table: InputTable
        if preparation is None:
            self._prepare: FittedPreparation | None = None
            self.table = input_table.of_description(about)
        else:
            self._prepare = preparation.for_rows(sorted(input_table.raw_target(preparation)))
            self.table = input_table.of_preparation(preparation)

    def compute(self, rows: RawRows) -> Computed:
        """The outputs for these rows. Rows that a step of the preparation cannot take are told."""
        bad: list[BadRow] = []
        if self._prepare is None:
            features = input_table.features_of(self.table, rows, bad).reshape(-1, *self.about.inputs)
        else:
            features = self._prepared(self._prepare, rows, bad)
        single = self.about.single(features.reshape(rows.count, -1))
        finite = np.asarray(np.isfinite(single).all(axis=1))
        known = {each.row for each in bad}
        bad += [
            BadRow(row, "", "has features that are no finite float32 numbers")
            for row in np.flatnonzero(~finite).tolist()
            if row not in known
        ]
        outputs = self._network(self.about.scaled(np.where(finite[:, None], single, np.float32(0))))
        diverged = np.asarray(~np.isfinite(outputs).all(axis=1))
        if diverged.any():
            known = {each.row for each in bad}
            bad += [
                BadRow(
                    row,
                    "",
                    "leads to outputs that are no finite numbers: its values are far from training's",
                )
                for row in np.flatnonzero(diverged).tolist()
                if row not in known
            ]
            outputs = np.where(diverged[:, None], np.float32(0), outputs)
        return Computed(outputs, features, tuple(bad))

    def decide(self, outputs: np.ndarray, rows: RawRows) -> list[Decision]:
        """The decisions on outputs float32 [n, outputs] for these rows."""
        names = sorted(self.decisions.row_columns)
        told = [rows.row(number, names) for number in range(rows.count)] if names else None
        return self.decisions.of(outputs, told)

    def _prepared(self, fitted: FittedPreparation, rows: RawRows, bad: list[BadRow]) -> np.ndarray:
        small = fitted.samples.kind == "image"
        features = np.zeros((rows.count, *self.about.inputs), np.uint8 if small else np.float32)
        there = np.zeros(rows.count, bool)
        for made in fitted.of(Batch(rows.columns, np.arange(rows.count))):
            there[made.numbers] = True
            if made.features.dtype != features.dtype:
                features = features.astype(made.features.dtype)
            features[made.numbers] = made.features
            bad += [
                BadRow(int(number), each.column, f"{each.reason} ({value!r})" if value else each.reason)
                for each in made.bad
                for number, value in zip(each.numbers, each.values, strict=True)
            ]
        known = {each.row for each in bad}
        bad += [
            BadRow(row, "", "misses a value, and training left such rows out (dropRows)")
            for row in np.flatnonzero(~there).tolist()
            if row not in known
        ]
        return features


def decode(
    content: memoryview,
    name: str,
    preparation: bytes | None,
    decision: DecisionSpec | None,
    consented: Iterable[str] = (),
) -> ServedModel:
    """The model in the bytes of its file, which may be mapped; `name` is for messages, `preparation` the object beside
    it, `consented` the code that it may name.

    Raises DataError where the file is none of Sapflow's, names code without consent, or its preparation is another;
    SpecError where the decision is not about it.
    """
    try:
        tensors, metadata = safetensor.decode(content, name)
        about = described(metadata, name)
        check_consent(about, consented, name)
        fitted = (
            None if about.preparation is None else opened_preparation(preparation, about.preparation, name)
        )
        return ServedModel(about, network(about, tensors, name), fitted, decision)
    except CorruptObject as error:
        raise DataError(f"{name} is no model file of Sapflow's, or is damaged: {error}") from error


def check_consent(about: Description, consented: Iterable[str], name: str) -> None:
    """Raise DataError where the model names code, in whatever field, that nobody has allowed to run."""
    allowed = set(consented)
    if missing := [each for each in about.model.code if each not in allowed]:
        raise DataError(
            f"{name} names code, {', '.join(missing)}: say that it may run (entrypoint), if you trust it"
        )


def opened_preparation(content: bytes | None, named: str, name: str) -> FittedPreparation:
    """The preparation of a model, which names it by its SHA-256. Raises DataError."""
    if content is None:
        raise DataError(
            f"{name} was trained on prepared data, and preparation.safetensors is not beside it: copy it there"
        )
    return of_file(content, named, f"the preparation beside {name}")


def agreement(one: Sequence[Mapping[str, object]], other: Sequence[Mapping[str, object]]) -> int:
    """In how many rows two versions decide alike: for the same label, labels or number of boxes, or nearly the same
    value."""
    return sum(map(_alike, one, other))


def _alike(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    for name in ("label", "labels", "count"):
        if name in one or name in other:
            return one.get(name) == other.get(name)
    values = [each.get("values", [each.get("value")]) for each in (one, other)]
    try:
        return bool(np.allclose(np.array(values[0], float), np.array(values[1], float), rtol=1e-3, atol=1e-6))
    except (TypeError, ValueError):
        return False
