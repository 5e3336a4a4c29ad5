"""The small real data sets that come with scikit-learn: nothing is downloaded."""

from collections.abc import Iterator, Mapping

import numpy as np

from sapflow.data.chunks import Chunk, Source
from sapflow.data.options import Options, parse
from sapflow.errors import DataError

TASKS = {
    "digits": "classification",
    "iris": "classification",
    "wine": "classification",
    "breast_cancer": "classification",
    "diabetes": "regression",
    "linnerud": "regression",
}


def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Features float64 [n, f] and targets [n] or [n, k].

    Raises DataError if the set is unknown or scikit-learn is missing.
    """
    if name not in TASKS:
        raise DataError(f"unknown set sklearn:{name}; the bundled sets are {', '.join(TASKS)}")
    try:
        from sklearn import datasets  # large, and only these sets need it
    except ImportError as error:
        raise DataError(
            f"sklearn:{name} needs scikit-learn, which is not installed: pip install 'sapflow[data]'"
        ) from error
    features, targets = getattr(datasets, f"load_{name}")(return_X_y=True)
    return np.asarray(features), np.asarray(targets)


def source(name: str, options: Mapping[str, object]) -> Source:
    """The set `name`. Raises DataError if it is unknown or scikit-learn is missing."""
    if name not in TASKS:
        raise DataError(f"unknown set sklearn:{name}; the bundled sets are {', '.join(TASKS)}")
    title = f"sklearn:{name}"
    parse(Options, options, title)

    def chunks() -> Iterator[Chunk]:
        features, targets = load(name)
        yield Chunk(features, targets, title)

    return Source(title, chunks, task=TASKS[name])
