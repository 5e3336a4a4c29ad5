"""What `bench.preparation` measures ours beside: pandas and scikit-learn's ColumnTransformer make the same features.

`python -m bench.table_reference TABLE.csv FEATURES.npy` prints the seconds that it took, those of CPU, and its peak
memory in MiB.
"""

import json
import sys
import time
from typing import Any

import numpy as np

from bench.raw_table import COUNTS, FLOATS, LEVELS, TARGET, TIME
from sapflow.timing import peak_memory

ONE_HOT = ("c0", "c1", "c2", "c4")
MEDIANS, MEANS = FLOATS[:3], FLOATS[3:]
HELD_OUT = 0.2


def features(path: str) -> np.ndarray:
    """float32 [rows, features] of a table, by what is learnt of the rows that are not held out."""
    import pandas
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, OrdinalEncoder, StandardScaler

    table = pandas.read_csv(path, parse_dates=[TIME])
    at = table.pop(TIME).dt
    table["month"], table["weekday"], table["hour"] = at.month, at.day_of_week, at.hour
    del table[TARGET]
    transformer: Any = ColumnTransformer(
        [
            ("medians", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), list(MEDIANS)),
            ("means", make_pipeline(SimpleImputer(), StandardScaler()), list(MEANS)),
            ("counts", make_pipeline(SimpleImputer(), MinMaxScaler()), list(COUNTS)),
            ("one-hot", OneHotEncoder(sparse_output=False), list(ONE_HOT)),
            ("ordinal", OrdinalEncoder(), [name for name in LEVELS if name not in ONE_HOT]),
            ("dates", "passthrough", ["month", "weekday", "hour"]),
        ]
    )
    held = np.random.default_rng(0).random(len(table)) < HELD_OUT
    transformer.fit(table[~held])
    return np.asarray(transformer.transform(table), np.float32)


def main() -> int:
    source, target = sys.argv[1:]
    began = time.perf_counter()
    np.save(target, features(source))
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "cpu": time.process_time(), "mebibytes": peak_memory() / 2**20}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
