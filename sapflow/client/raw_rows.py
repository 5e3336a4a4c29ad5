"""Predictions on raw rows: rows as a model's source has them go through the very preparation that training used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sapflow.client.raw_source import RawSource
from sapflow.data.data_file import DataFile
from sapflow.data.source_files import format_of
from sapflow.errors import DataError
from sapflow.objects import keys
from sapflow.preparation import bad_rows
from sapflow.preparation.fitted import FittedPreparation
from sapflow.preparation.needed_packages import needed_packages
from sapflow.preparation.reading.reader import Asked, Plan, Reader
from sapflow.preparation.reading.registry import reader_of
from sapflow.preparation.record import Record
from sapflow.serving.input_table import raw_target


@dataclass(frozen=True, slots=True)
class Prepared:
    """The samples of raw rows."""

    features: np.ndarray
    """uint8 or float32 [n, *shape], equal bit for bit to those of training for the same rows."""
    rows: np.ndarray
    """int64 [n]: which of the rows each is of, from 0."""
    bad: tuple[str, ...]
    """Why some rows gave no sample, in words; at most MOST_BAD of them. Rows that a step leaves out are not bad."""
    total: int
    """The number of rows that were given."""
    files: tuple[str, ...] = ()
    """Of images, each sample's file."""

    def of_all_rows(self) -> np.ndarray:
        """The features, if every row has given a sample. Raises DataError, which names the first row that has not."""
        if len(self.rows) == self.total:
            return self.features
        told = self.bad[0] if self.bad else "a step of the preparation leaves it out"
        lacking = np.setdiff1d(np.arange(self.total), self.rows)
        raise DataError(
            f"{len(lacking):,} of {self.total:,} rows give no sample, the first one is row {lacking[0]} (the first is "
            f"0): {told}. Leave them out, or have the others predicted: rows = model.prepared(…), then "
            "model.predict(rows.features)"
        )


MOST_BAD = 20


def beside(path: Path) -> Path:
    """Where a model file's preparation is looked for: beside it, under its own name or as in a job's result."""
    own = path.with_name(f"{path.name.removesuffix('.safetensors')}.{keys.fitted_preparation('')}")
    return own if own.exists() else path.with_name(keys.fitted_preparation(""))


def prepared(
    fitted: FittedPreparation, source: RawSource, options: Mapping[str, object] | None = None
) -> Prepared:
    """The samples of raw rows. They need not have the target, and may have their columns in another order.

    `options` are those of the format that differ from training's. Raises DataError.
    """
    with needed_packages():
        return _prepared(fitted, source, options or {})


def _prepared(fitted: FittedPreparation, source: RawSource, changed: Mapping[str, object]) -> Prepared:
    reader, files = reader_of(source.format), source.files
    options = {**(fitted.plan.options if source.format == fitted.plan.format else {}), **changed}
    if source.format == "images" and not _has_table(files, options):
        options.pop("table", None)
    plan = _plan(reader, fitted, files, options)
    there = {each.name for each in plan.columns}
    lacking = [each.name for each in fitted.plan.columns if each.name not in there]
    applied = fitted.for_rows([*lacking, *raw_target(fitted)])
    features: list[np.ndarray] = []
    rows: list[np.ndarray] = []
    bad: list[str] = []
    before = 0
    for number in range(len(plan.partitions)):
        count = 0
        for parsed in reader.batches(files, plan, number):
            bad += map(bad_rows.in_words, bad_rows.of_rejected(parsed.rejected))
            numbers = [*parsed.batch.numbers[-1:].tolist(), *(each.number for each in parsed.rejected)]
            count = max([count, *(each + 1 for each in numbers)])
            for made in applied.of(parsed.batch):
                features.append(made.features)
                rows.append(made.numbers + before)
                bad += map(bad_rows.in_words, bad_rows.of_steps(made.bad, number, parsed.batch.origins))
        before += count
    if not any(map(len, features)):
        raise DataError(
            f"{source.name} has no rows"
            if not bad
            else f"{source.name} has no row that can be used: {bad[0]}"
        )
    found = np.concatenate(rows)
    return Prepared(
        np.concatenate(features), found, tuple(bad[:MOST_BAD]), before, _image_names(source, found)
    )


def _has_table(files: Sequence[DataFile], options: Mapping[str, object]) -> bool:
    """Whether the table of images that training had lies among these files."""
    name = options.get("table")
    return any(file.name == name or file.name.endswith(f"/{name}") for file in files)


def _image_names(source: RawSource, rows: np.ndarray) -> tuple[str, ...]:
    if source.format != "images":
        return ()
    images = [file.name for file in source.files if format_of(file) == "images"]
    return tuple(images[row] for row in rows.tolist())


def _plan(
    reader: Reader, fitted: FittedPreparation, files: Sequence[DataFile], options: Mapping[str, object]
) -> Plan:
    """How the files are read: with the types of training, whatever their own beginning looks like."""
    missing = fitted.plan.missing
    names = {each.name for each in reader.survey(files, Asked(options, {}, missing)).columns}
    kinds = {each.name: each.kind for each in fitted.plan.columns if each.name in names}
    plan = reader.survey(files, Asked(options, kinds, missing))
    if plan.to_scan:
        scans: Sequence[Record] = [reader.scan(files, plan, number) for number in plan.to_scan]
        plan = reader.cut(plan, scans)
    return plan
