"""How far requests are from what training has seen, by column: texts that it never had, numbers outside its range."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from sapflow.preparation.batch import Text
from sapflow.serving.input_columns import InputColumn
from sapflow.serving.raw_rows import RawRows


class Drift:
    """Counts such values."""

    def __init__(self, columns: Sequence[InputColumn]) -> None:
        self._texts = [each for each in columns if each.seen is not None]
        self._numbers = [each for each in columns if each.kind == "Number" and each.least <= each.most]
        self.unseen: Counter[str] = Counter({each.name: 0 for each in self._texts})
        """Values that are none of training's, by column."""
        self.outside: Counter[str] = Counter({each.name: 0 for each in self._numbers})
        """Numbers below the least or above the greatest of training, by column."""

    def count(self, rows: RawRows) -> None:
        """Count the values of these rows. What is missing does not count."""
        for each in self._texts:
            column = rows.columns[each.name]
            assert isinstance(column, Text)
            assert each.seen is not None
            new = [code for code, word in enumerate(column.words) if word not in each.seen]
            if new:
                self.unseen[each.name] += int(np.isin(column.codes, new).sum())
        for each in self._numbers:
            numbers = np.asarray(rows.columns[each.name])
            self.outside[each.name] += int(((numbers < each.least) | (numbers > each.most)).sum())
