"""The INPUT of `sapflow predict`: features in a file, or on standard input."""

import io
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from sapflow.data import features
from sapflow.data.data_file import DataFile
from sapflow.data.files import local_file
from sapflow.data.formats.csv_files import Dialect
from sapflow.errors import DataError
from sapflow.serving.description import Description

ARRAYS = ("x", "X", "features", "data", "x_test")


def read(name: str, about: Description, dialect: Dialect) -> np.ndarray:
    """The features in a file, or `-`, for the model that is described. Raises DataError."""
    path = Path(name)
    try:
        if path.suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False))
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return _only_features(dict(archive), name)
        if name == "-":
            found, ignored = features.of_csv(_standard_input(), about.columns, dialect)
        elif name.endswith((".csv", ".csv.gz")):
            found, ignored = features.of_csv(local_file(path), about.columns, dialect)
        elif path.suffix == ".parquet":
            found, ignored = features.of_parquet(local_file(path), about.columns)
        else:
            raise DataError(
                f"{name}: INPUT must be a .npy, .npz, .csv, .csv.gz or .parquet file, or - for CSV rows on standard "
                "input"
            )
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{name} is no readable {path.suffix} file: {error}") from error
    if ignored:
        print(f"columns of {name} that the model does not take: {', '.join(ignored)}", file=sys.stderr)
    return found


def _standard_input() -> DataFile:
    # A byte order mark at its beginning is no part of the first cell; the reader of files leaves it out.
    content = sys.stdin.read().encode()
    return DataFile("standard input", len(content), lambda: io.BytesIO(content))


def _only_features(arrays: dict[str, Any], name: str) -> np.ndarray:
    for each in ARRAYS:
        if each in arrays:
            return np.asarray(arrays[each])
    if len(arrays) == 1:
        return np.asarray(next(iter(arrays.values())))
    raise DataError(
        f"{name} has the arrays {', '.join(arrays) or 'none'}; features are looked for under {', '.join(ARRAYS)}"
    )
