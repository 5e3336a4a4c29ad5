"""Scale by medians and quartiles of groups: each group's numbers by what its own training rows have.

A pass finds the groups; those after it search the order statistics of every column in every group at once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sapflow.preparation.batch import Batch, Text
from sapflow.preparation.numerals import as_text
from sapflow.preparation.record import Record, words_of, words_to_arrays
from sapflow.preparation.step import Fit, Fitted, StepProblem
from sapflow.preparation.steps import column_moments as moments
from sapflow.preparation.steps.group_scale import GroupScaled, OfGroups
from sapflow.preparation.steps.order_statistics import Cells, Search, keys_of, values_of
from sapflow.preparation.steps.quantiles import Ordered, robust_ranks, robust_scale
from sapflow.preparation.steps.scales import Scales, divisors

MAX_SERIES = 2_000
"""Groups times columns: so many searches are in a state, and the counts of each in what is merged at once."""
_CELL_BITS = 16
"""A pass counts about 2^16 cells of a column, those of all groups together."""


@dataclass(frozen=True, slots=True)
class GroupRobustFit(OfGroups):
    """Learns medians and quartiles. `searches` are of the series g·k + c, column c of k in group g."""

    groups: tuple[str, ...] = ()
    """In increasing order; none before the first pass."""
    counts: tuple[int, ...] = ()
    """Of each series' values in the training rows; known after the second pass."""
    searches: tuple[Search, ...] = ()

    def collect(self, batch: Batch, before: Record | None) -> Record:
        text = as_text(batch.columns[self.by])
        if not self.groups:
            rows = np.bincount(text.codes[text.codes >= 0], minlength=len(text.words))
            found = _words(text.words[code] for code in np.flatnonzero(rows).tolist())
            return found if before is None else self.merge([before, found])
        earlier = [None] * len(self.searches) if before is None else _cells_of(before)
        owners = _owners(text, self.groups)
        order = np.argsort(owners, kind="stable")
        edges = np.searchsorted(owners[order], np.arange(len(self.groups) + 1))
        keys = [self._keys(np.asarray(batch.columns[name]), order, edges) for name in self.columns]
        width = len(self.columns)
        return _record_of(
            None if search.done else search.count(keys[series % width][series // width], earlier[series])
            for series, search in enumerate(self.searches)
        )

    def merge(self, records: Sequence[Record]) -> Record:
        if not self.groups:
            if any(each.notes["too_many"] for each in records):
                return Record({"too_many": True}, words_to_arrays("groups", ()))
            found = _words(word for each in records for word in words_of("groups", each.arrays))
            too_many = len(words_of("groups", found.arrays)) > self._most
            return Record({"too_many": True}, words_to_arrays("groups", ())) if too_many else found
        several = zip(*map(_cells_of, records), strict=True)
        return _record_of(
            None if search.done else search.merge([each for each in cells if each is not None])
            for search, cells in zip(self.searches, several, strict=True)
        )

    def next(self, total: Record | None) -> Fit | Fitted:
        given = moments.given_rows(total)
        if not self.groups:
            return self._begun(given)
        cells, counts, searches = _cells_of(given), self.counts, []
        if not counts:
            counts = tuple(0 if each is None else int(each.rows.sum()) for each in cells)
            shape = (len(self.groups), len(self.columns))
            moments.refuse_empty(self.columns, np.array(counts).reshape(shape).sum(axis=0))
        for count, search, each in zip(counts, self.searches, cells, strict=True):
            if each is None:
                searches.append(search)
            elif not count:
                none = np.empty(0, np.int64)
                searches.append(Search(none, none.astype(np.uint64), none, 0, search.bits))
            else:
                searches.append(search.narrowed(each, None if search.begun else robust_ranks(count)))
        following = replace(self, counts=counts, searches=tuple(searches))
        return following._fitted() if all(each.done for each in searches) else following

    def record(self) -> Record:
        notes = {
            "columns": list(self.columns),
            "by": self.by,
            "counts": list(self.counts),
        }
        arrays = {
            name: _joined([getattr(each, name) for each in self.searches], kind)
            for name, kind in (("ranks", np.int64), ("begins", np.uint64), ("below", np.int64))
        }
        arrays["sizes"] = np.array([len(each.ranks) for each in self.searches], np.int64)
        arrays["widths"] = np.array([each.width for each in self.searches], np.int64)
        arrays["begun"] = np.array([each.begun for each in self.searches], np.uint8)
        bits = self.searches[0].bits if self.searches else 0
        return Record(notes | {"bits": bits}, arrays | words_to_arrays("groups", self.groups))

    @classmethod
    def of_record(cls, record: Record) -> "GroupRobustFit":
        notes, arrays = record.notes, record.arrays
        ends = np.cumsum(arrays["sizes"])[:-1]
        ranks, begins, below = (np.split(arrays[name], ends) for name in ("ranks", "begins", "below"))
        widths, begun = arrays["widths"].tolist(), arrays["begun"].tolist()
        searches = tuple(
            Search(ranks[place], begins[place], below[place], width, notes["bits"], bool(begun[place]))
            for place, width in enumerate(widths)
        )
        groups = words_of("groups", arrays)
        return cls(tuple(notes["columns"]), notes["by"], groups, tuple(notes["counts"]), searches)

    @property
    def _most(self) -> int:
        return MAX_SERIES // len(self.columns)

    def _keys(self, values: np.ndarray, order: np.ndarray, edges: np.ndarray) -> list[np.ndarray]:
        """The keys of a column's values in each group."""
        sorted_ = values[order]
        groups = (
            sorted_[begin:end] for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
        )
        return [keys_of(each[~np.isnan(each)]) for each in groups]

    def _begun(self, given: Record) -> "GroupRobustFit":
        if given.notes["too_many"]:
            raise StepProblem(
                f"column {self.by} has more than {self._most:,} different values, and method Robust takes up to "
                f"{MAX_SERIES:,} groups times columns: scale fewer columns in a step, by another column, or by none",
                "by",
            )
        groups = words_of("groups", given.arrays)
        if not groups:
            raise StepProblem(f"column {self.by} has no value in any training row: leave by out", "by")
        bits = max(6, _CELL_BITS - (len(groups) - 1).bit_length())
        return replace(
            self, groups=groups, searches=(Search.start(bits),) * (len(groups) * len(self.columns))
        )

    def _fitted(self) -> GroupScaled:
        shape = (len(self.groups), len(self.columns))
        scales = np.full((len(self.searches), 2), np.nan)
        for series, (count, search) in enumerate(zip(self.counts, self.searches, strict=True)):
            if count:
                found = Ordered(count, search.ranks, values_of(search.begins))
                if not np.isfinite(found.values).all():
                    raise StepProblem(
                        f"column {self.columns[series % shape[1]]} has infinite values where a quantile is: clip it "
                        "before",
                        "columns",
                    )
                scales[series] = robust_scale(found)
        offsets, distances = scales.T.reshape(2, *shape)
        return GroupScaled(self.columns, self.by, self.groups, Scales(offsets, divisors(distances)))


def _words(words: Iterable[str]) -> Record:
    """Groups that there are."""
    return Record({"too_many": False}, words_to_arrays("groups", sorted(set(words))))


def _owners(text: Text, groups: Sequence[str]) -> np.ndarray:
    """int64: the number of each row's group, and behind the last one's where it has none."""
    places = {word: place for place, word in enumerate(groups)}
    found = np.array([*(places.get(word, len(groups)) for word in text.words), len(groups)], np.int64)
    return np.asarray(found[text.codes])


def _record_of(cells: Iterable[Cells | None]) -> Record:
    """Cells of each series; None where a search is over."""
    every = list(cells)
    some = [each for each in every if each is not None]
    arrays = {
        "begins": _joined([each.begins for each in some], np.uint64),
        "rows": _joined([each.rows for each in some], np.int64),
        "sizes": np.array([-1 if each is None else len(each.begins) for each in every], np.int64),
        "widths": np.array([0 if each is None else each.width for each in every], np.int64),
    }
    return Record({}, arrays)


def _cells_of(record: Record) -> list[Cells | None]:
    arrays, found, at = record.arrays, list[Cells | None](), 0
    for size, width in zip(arrays["sizes"].tolist(), arrays["widths"].tolist(), strict=True):
        if size < 0:
            found.append(None)
            continue
        found.append(Cells(arrays["begins"][at : at + size], arrays["rows"][at : at + size], width))
        at += size
    return found


def _joined(arrays: Sequence[np.ndarray], kind: type[np.generic]) -> np.ndarray:
    return np.concatenate([np.empty(0, kind), *arrays])
