"""Predictions on raw rows: files as a model's source has them go through the very preparation that training used."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sapflow.data.data_file import DataFile
from sapflow.errors import CorruptObject, DataError
from sapflow.objects import keys
from sapflow.preparation import bad_rows
from sapflow.preparation.fitted import FittedPreparation, digest
from sapflow.preparation.needed_packages import needed_packages
from sapflow.preparation.reading.reader import Asked, Plan, Reader
from sapflow.preparation.reading.registry import reader_of
from sapflow.preparation.record import Record
from sapflow.preparation.steps.registry import CLASSES
from sapflow.serving.input_table import raw_target

ENDINGS = {".csv": "csv", ".csv.gz": "csv", ".parquet": "parquet", ".jsonl": "jsonl"}
"""Formats of raw files by how their names end."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The samples of raw rows."""

    features: np.ndarray
    """uint8 or float32 [n, *shape], equal bit for bit to those of training for the same rows."""
    rows: np.ndarray
    """int64 [n]: which of the rows each is of, from 0."""
    bad: tuple[str, ...]
    """Why some rows gave no sample, in words; at most MOST_BAD of them."""


MOST_BAD = 20


def beside(path: Path) -> Path:
    """Where a model file's preparation is looked for: beside it, under its own name or as in a job's result."""
    own = path.with_name(f"{path.name.removesuffix('.safetensors')}.{keys.fitted_preparation('')}")
    return own if own.exists() else path.with_name(keys.fitted_preparation(""))


def load(content: bytes, named: str, name: str) -> FittedPreparation:
    """The preparation in the bytes of a file; `named` is the SHA-256 that the model says. Raises DataError."""
    if digest(content) != named:
        raise DataError(
            f"{name} is not the preparation that the model was trained with: put that one beside the model"
        )
    try:
        return FittedPreparation.of_record(Record.decode(content, name), CLASSES)
    except CorruptObject as error:
        raise DataError(f"{name} is no preparation of this release's: {error}") from error


def prepared(fitted: FittedPreparation, file: DataFile, options: dict[str, object] | None = None) -> Prepared:
    """The samples of the rows in a file. It need not have the target, and may have its columns in another order.

    `options` are those of the format that differ from training's. Raises DataError.
    """
    with needed_packages():
        return _prepared(fitted, file, options or {})


def _prepared(fitted: FittedPreparation, file: DataFile, changed: dict[str, object]) -> Prepared:
    format = next(
        (kind for ending, kind in ENDINGS.items() if file.name.endswith(ending)), fitted.plan.format
    )
    reader = reader_of(format)
    options = {**(fitted.plan.options if format == fitted.plan.format else {}), **changed}
    plan = _plan(reader, fitted, file, options)
    there = {each.name for each in plan.columns}
    lacking = [each.name for each in fitted.plan.columns if each.name not in there]
    applied = fitted.for_rows([*lacking, *raw_target(fitted)])
    features: list[np.ndarray] = []
    rows: list[np.ndarray] = []
    bad: list[str] = []
    before = 0
    for number in range(len(plan.partitions)):
        count = 0
        for parsed in reader.batches([file], plan, number):
            bad += map(bad_rows.in_words, bad_rows.of_rejected(parsed.rejected))
            numbers = [*parsed.batch.numbers[-1:].tolist(), *(each.number for each in parsed.rejected)]
            count = max([count, *(each + 1 for each in numbers)])
            for made in applied.of(parsed.batch):
                features.append(made.features)
                rows.append(made.numbers + before)
                bad += map(bad_rows.in_words, bad_rows.of_steps(made.bad, number, [file.name]))
        before += count
    if not features:
        raise DataError(
            f"{file.name} has no rows" if not bad else f"{file.name} has no row that can be used: {bad[0]}"
        )
    return Prepared(np.concatenate(features), np.concatenate(rows), tuple(bad[:MOST_BAD]))


def _plan(reader: Reader, fitted: FittedPreparation, file: DataFile, options: dict[str, object]) -> Plan:
    """How the file is read: with the types of training, whatever its own beginning looks like."""
    missing = fitted.plan.missing
    names = {each.name for each in reader.survey([file], Asked(options, {}, missing)).columns}
    kinds = {each.name: each.kind for each in fitted.plan.columns if each.name in names}
    plan = reader.survey([file], Asked(options, kinds, missing))
    if plan.to_scan:
        scans: Sequence[Record] = [reader.scan([file], plan, number) for number in plan.to_scan]
        plan = reader.cut(plan, scans)
    return plan
