"""Samples that a Python program passes as objects: NumPy arrays, pandas and Arrow tables, torch Datasets.

They become a Source like any other and are cut into blocks once. A spec names them `memory:<digest>`, by the SHA-256 of
the samples, so other samples make another job. pandas, pyarrow and torch are not imported here; a program that passes
their objects has imported them.
"""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sapflow.data.chunks import Chunk, Part, Reading, Source, rows_per_chunk
from sapflow.data.formats.arrow_tables import index_of, table_chunk, to_numpy
from sapflow.data.formats.columns import SetColumns, TableOptions
from sapflow.data.formats.npz import NpzOptions, pairs_among
from sapflow.data.options import FileOptions, parse
from sapflow.data.validation import options_for, with_validation
from sapflow.errors import DataError
from sapflow.spec.sources import MEMORY

SCHEME = MEMORY
KINDS = "NumPy arrays (features, targets) or {'x': …, 'y': …}, a pandas DataFrame, an Arrow table, or a torch Dataset"
_DIGITS = 16


@contextmanager
def named(source: Source, spool: Path | None) -> Iterator[Source]:
    """A context with the samples under their name `memory:<digest>`.

    Samples that cannot be read twice with the same result, such as those of a random Dataset, are read once into a
    temporary file in the folder `spool` (by default the system's), in bounded memory. Raises what `Source.read` raises.
    """
    with ExitStack() as stack:
        found = stack.enter_context(_readable_twice(source, spool))
        if source.validation is not None:
            apart = stack.enter_context(_readable_twice(source.validation, spool))
            found = replace(found, validation=apart)
        yield replace(found, name=_name(found))


@contextmanager
def _readable_twice(source: Source, spool: Path | None) -> Iterator[Source]:
    """A context with the samples of the source itself, copied to a file if they can be read only once."""
    if not isinstance(source, _ReadOnce):
        yield source
        return
    if spool is not None:
        spool.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=spool) as file:
        chunks: list[tuple[str, int, Part]] = []
        for chunk in source.chunks():
            for array in (chunk.features, chunk.targets):
                np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
            chunks.append((chunk.origin, chunk.row, chunk.part))

        def again() -> Iterator[Chunk]:
            file.seek(0)
            for origin, row, part in chunks:
                features, targets = (np.lib.format.read_array(file, allow_pickle=False) for _ in range(2))
                yield Chunk(features, targets, origin, row, part)

        yield Source(
            source.name, again, source.task, source.classes, source.brings_validation, source.class_names
        )


def _name(source: Source) -> str:
    """The name of samples, by all that is stored of them."""
    digest = hashlib.sha256()
    reading = Reading(source, centred=True)
    for chunk in reading:
        for array in (chunk.features, chunk.targets):
            digest.update(f"{chunk.part} {array.dtype.str} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).data.cast("B"))
        if chunk.groups is not None:
            digest.update(b"groups\n")
            digest.update(np.ascontiguousarray(chunk.groups).data.cast("B"))
    for what, found in (("origin", reading.origin), ("classes", reading.class_names)):
        if found is not None and len(found):
            digest.update(f"{what} {list(found)}\n".encode())
    return f"{SCHEME}:{digest.hexdigest()[:_DIGITS]}"


class _ReadOnce(Source):
    """A source that may give other samples, or none, when it is read a second time."""


def is_samples(given: object) -> bool:
    """Whether an object is meant as samples, and not as a source's name or as fields of a spec."""
    if isinstance(given, Mapping):
        return any(hasattr(value, "__array__") or isinstance(value, list | tuple) for value in given.values())
    return not isinstance(given, str | Path)


def source(given: object, options: Mapping[str, object], training: Source | None = None) -> Source:
    """A source of the samples, which are read lazily.

    `options` are those of the closest format: npz for arrays, parquet for tables, task and classes for a Dataset.
    `training`: the source of the samples for training, where these are for validation. Raises DataError if the object
    is none of KINDS or the options do not fit.
    """
    if isinstance(given, Mapping):
        return _arrays({str(name): value for name, value in given.items()}, options, training)
    if isinstance(given, tuple | list) and len(given) == 2:
        return _arrays({"x": given[0], "y": given[1]}, options, training)
    if is_table(given):
        return (
            _frame(given, options, training) if hasattr(given, "iloc") else _arrow(given, options, training)
        )
    if hasattr(given, "dataset") and hasattr(given, "batch_size"):
        raise DataError("a DataLoader gives batches, and Sapflow makes its own: hand over its dataset")
    if not hasattr(given, "__array__") and not isinstance(given, tuple | list | bytes):
        if hasattr(given, "__getitem__") and hasattr(given, "__len__"):
            return _dataset(_by_index(given), given, options)
        if hasattr(given, "__iter__"):
            return _dataset(given, given, options)
    raise DataError(f"{type(given).__name__} is no kind of data: give {KINDS}, or the name of a source")


def is_table(given: object) -> bool:
    """Whether an object is a pandas DataFrame or an Arrow table."""
    frame = hasattr(given, "columns") and hasattr(given, "iloc")
    return frame or (hasattr(given, "to_batches") and hasattr(given, "schema"))


def both(
    given: object, options: Mapping[str, object], held_out: object, asked: Mapping[str, object]
) -> Source:
    """A source of the samples `given`, and of those `held_out` for validation; `asked` are the options of these, where
    they differ. Raises DataError."""
    training = source(given, options)
    tables = is_table(given), is_table(held_out)
    kinds = _format(given), _format(held_out)
    chosen = options_for(asked, options, same=kinds[0] == kinds[1], tables=all(tables))
    return with_validation(training, source(held_out, chosen, training))


def _format(given: object) -> str:
    """Whose options samples take."""
    if is_table(given):
        return "table"
    return "arrays" if isinstance(given, Mapping | tuple | list) else "dataset"


def _arrays(given: Mapping[str, object], options: Mapping[str, object], training: Source | None) -> Source:
    chosen = parse(NpzOptions, options, "arrays")
    pairs = pairs_among(given.keys(), chosen, "the mapping", alone=training is not None)
    arrays = {name: _array(given[name]) for _, *both in pairs for name in both}

    def chunks() -> Iterator[Chunk]:
        for part, features, targets_name in pairs:
            x, y = arrays[features], arrays[targets_name]
            if x.ndim < 2 or y.ndim < 1 or len(x) != len(y):
                # The checks that all sources share give the message.
                yield Chunk(np.atleast_1d(x), np.atleast_1d(y), f"{of}array {features}", part=part)
                continue
            rows = rows_per_chunk(x.shape[1:], x.dtype.itemsize, f"{of}array {features}")
            for start in range(0, len(x), rows):
                targets = chosen.numbered(y[start : start + rows], f"{of}array {targets_name}", start)
                yield Chunk(x[start : start + rows], targets, f"{of}array {features}", start, part)

    of = "" if training is None else "the validation samples' "
    validated = {part for part, *_ in pairs} == {"train", "validation"}
    return Source(
        f"{of or 'the '}arrays",
        chunks,
        chosen.kind,
        chosen.class_count,
        validated,
        class_names=chosen.class_names,
    )


def _array(given: object) -> np.ndarray:
    """A NumPy array from an array-like object, such as a torch tensor."""
    detached = given.detach().cpu() if hasattr(given, "detach") else given
    try:
        return np.asarray(detached)
    except ValueError as error:
        raise DataError(f"a {type(given).__name__} is no array of numbers: {error}") from error


def _frame(frame: Any, options: Mapping[str, object], training: Source | None) -> Source:
    chosen = parse(TableOptions, options, "a DataFrame")
    origin = "the DataFrame" if training is None else "the DataFrame for validation"
    names = [str(name) for name in frame.columns]
    table = SetColumns(None if training is None else training.table)
    columns = table.of_file(names, len(names), chosen, origin)

    def chunks() -> Iterator[Chunk]:
        rows = rows_per_chunk((len(names),), 16, origin)
        for start in range(0, len(frame), rows):
            part = frame.iloc[start : start + rows]
            arrays = {
                place: series_to_numpy(part.iloc[:, place], names[place], start) for place in columns.used
            }
            yield table_chunk(arrays, columns, chosen, origin, start)

    return Source(
        origin, chunks, chosen.kind, chosen.class_count, class_names=chosen.class_names, table=table
    )


def series_to_numpy(series: Any, name: str, row: int) -> np.ndarray:
    missing = np.asarray(series.isna())
    if missing.any():
        first = row + int(missing.argmax())
        raise DataError(
            f"the DataFrame, row {first} (the first is 0), column {name}: there is no value; fill it in or drop the row"
        )
    # pandas' own types of numbers become NumPy's.
    kind = getattr(series.dtype, "kind", "O")
    if not isinstance(series.dtype, np.dtype) and kind in "buif":
        return np.asarray(series.to_numpy(dtype=f"{kind}{series.dtype.itemsize}"))
    return np.asarray(series.to_numpy())


def _arrow(table: Any, options: Mapping[str, object], training: Source | None) -> Source:
    chosen = parse(TableOptions, options, "an Arrow table")
    origin = "the Arrow table" if training is None else "the Arrow table for validation"
    names = list(table.schema.names)
    known = SetColumns(None if training is None else training.table)
    columns = known.of_file(names, len(names), chosen, origin, index_of(table.schema))

    def chunks() -> Iterator[Chunk]:
        rows, done = rows_per_chunk((len(names),), 16, origin), 0
        for batch in table.to_batches(max_chunksize=rows):
            arrays = {
                place: to_numpy(batch.columns[place], names[place], origin, done) for place in columns.used
            }
            yield table_chunk(arrays, columns, chosen, origin, done)
            done += batch.num_rows

    return Source(
        origin, chunks, chosen.kind, chosen.class_count, class_names=chosen.class_names, table=known
    )


def _by_index(dataset: Any) -> Iterable[object]:
    return (dataset[index] for index in range(len(dataset)))


def _dataset(samples: Iterable[object], dataset: object, options: Mapping[str, object]) -> Source:
    """A source for a map-style or iterable Dataset, whose samples are pairs of features and a target."""
    chosen = parse(FileOptions, options, "a Dataset")
    kind = type(dataset).__name__

    def chunks() -> Iterator[Chunk]:
        waiting: list[tuple[np.ndarray, np.ndarray]] = []
        start, rows = 0, 1
        for index, sample in enumerate(samples):
            pair = _pair(sample, f"sample {index} of the {kind}")
            if not index:
                rows = rows_per_chunk(pair[0].shape, pair[0].dtype.itemsize, f"the {kind}")
            if waiting and [each.shape for each in pair] != [each.shape for each in waiting[0]]:
                raise DataError(
                    f"sample {index} of the {kind} has shape {list(pair[0].shape)}, target {list(pair[1].shape)}, "
                    f"where others have {list(waiting[0][0].shape)}, {list(waiting[0][1].shape)}; all must be alike"
                )
            waiting.append(pair)
            if len(waiting) == rows:
                yield _stacked(waiting, kind, start, chosen)
                start, waiting = start + rows, []
        if waiting:
            yield _stacked(waiting, kind, start, chosen)

    return _ReadOnce(f"the {kind}", chunks, chosen.kind, chosen.class_count, class_names=chosen.class_names)


def _stacked(
    waiting: Sequence[tuple[np.ndarray, np.ndarray]], kind: str, row: int, options: FileOptions
) -> Chunk:
    origin = f"the {kind}"
    targets = options.numbered(np.stack([y for _, y in waiting]), origin, row)
    return Chunk(np.stack([x for x, _ in waiting]), targets, origin, row)


def _pair(sample: object, origin: str) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(sample, tuple | list) or len(sample) != 2:
        raise DataError(
            f"{origin} is a {type(sample).__name__}; samples must be pairs (features, target): wrap the Dataset in one "
            "that gives those"
        )
    features, target = (_array(each) for each in sample)
    if not features.ndim:
        raise DataError(f"{origin} has features without a dimension; they must be arrays [n, …]")
    return features, target
