"""Prepared data outside of its store: the blocks as they are, or tables in Parquet, with what the steps have learnt."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sapflow.data.chunks import PARTS
from sapflow.data.manifest import Manifest, block_key, decode_block, manifest_key
from sapflow.errors import DataError
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store

Form = Literal["blocks", "parquet"]


def copy(store: Store, prefix: str, manifest: Manifest, target: Store, form: Form) -> int:
    """Write the data under `prefix` of a store to another one; the number of files. What is there already stays.

    Blocks are read by jobs of Sapflow's alone; tables have a column for each feature and one for the target, in which
    classes are words. Raises DataError, StoreError.
    """
    written = 0
    for name, content in _objects(store, prefix, manifest, form):
        if not target.create(name, content, durable=True) and bytes(target.read(name)) != bytes(content):
            raise DataError(
                f"{target.url} holds another {name} already: name an empty place, or remove what is there"
            )
        written += 1
    return written


def _objects(
    store: Store, prefix: str, manifest: Manifest, form: Form
) -> Iterator[tuple[str, bytes | memoryview]]:
    for part in PARTS:
        for index, count in enumerate(manifest.blocks(part)):
            key = block_key(prefix, part, index)
            data = store.read(key)
            if form == "blocks":
                yield key.removeprefix(prefix), data
            else:
                yield f"{part}/{index}.parquet", _parquet(*decode_block(data, key, manifest, count), manifest)
    for each in store.list(keys.rejected(prefix)):
        yield each.key.removeprefix(prefix), store.read(each.key)
    if manifest.preparation:
        yield keys.fitted_preparation(""), store.read(keys.fitted_preparation(prefix))
    # The manifest comes last: who finds it finds all the rest.
    yield manifest_key(""), store.read(manifest_key(prefix))


def _parquet(features: np.ndarray, targets: np.ndarray, manifest: Manifest) -> bytes:
    """A table in Parquet, written by DuckDB in a temporary file. Raises DataError."""
    if features.ndim != 2 or not manifest.columns:
        raise DataError(
            "samples that are no vectors of named features are no table: leave --format out, for blocks"
        )
    try:
        import duckdb
    except ImportError as error:
        raise DataError("Parquet is written by DuckDB: pip install 'sapflow[preparer]'") from error
    columns: dict[str, Any] = {
        name: np.ascontiguousarray(features[:, place]) for place, name in enumerate(manifest.columns)
    }
    target = "target"
    while target in columns:
        target += "_"
    if manifest.class_names:
        columns[target] = np.array(manifest.class_names, object)[targets]
    elif targets.ndim == 1:
        columns[target] = np.ascontiguousarray(targets)
    else:
        columns |= {
            f"{target}.{place}": np.ascontiguousarray(targets[:, place]) for place in range(targets.shape[1])
        }
    with tempfile.TemporaryDirectory(prefix="sapflow-parquet-") as folder:
        path = Path(folder) / "table.parquet"
        with duckdb.connect(":memory:", config={"threads": 1}) as connection:
            connection.register("prepared", columns)
            connection.execute("COPY (SELECT * FROM prepared) TO ? (FORMAT parquet)", [str(path)])
        return path.read_bytes()
