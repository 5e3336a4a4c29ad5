"""What a model takes: its columns, how their values are written, and where a request's own are checked against them."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sapflow.errors import DataError
from sapflow.preparation.batch import Column
from sapflow.preparation.fitted import FittedPreparation
from sapflow.preparation.steps.selection import Renamed
from sapflow.serving.description import Description
from sapflow.serving.input_columns import InputColumn, Notation, Values, by_name
from sapflow.serving.raw_rows import RawRows
from sapflow.serving.refusal import BadRow, Refused, bad_rows

FEATURES = "features"
"""The only column of a model that knows no names for its features: a row of it is a sample."""


@dataclass(frozen=True, slots=True)
class InputTable:
    """The columns of a model in the order of its source."""

    columns: tuple[InputColumn, ...]
    notation: Notation
    delimiter: str = ","
    quote: str = '"'
    ignored: frozenset[str] = frozenset()
    """Columns that a request may have and that are not looked at, such as the target."""

    @property
    def named(self) -> bool:
        """Whether rows have names for their values."""
        return [each.name for each in self.columns] != [FEATURES]

    def rows(self, given: Mapping[str, Values], count: int, *, notation: Notation | None = None) -> RawRows:
        """The rows of these values by column, each [count]. Raises Refused, which names columns and rows."""
        self.check_names(given)
        bad: list[BadRow] = []
        how = self.notation if notation is None else notation
        columns = {
            each.name: each.read(given[each.name] if each.name in given else [None] * count, how, bad)
            for each in self.columns
        }
        if bad:
            raise bad_rows(bad)
        return RawRows(columns, count)

    def of_columns(self, given: Mapping[str, Column], count: int) -> RawRows:
        """The rows of columns that are read already; those that a request may lack are missing everywhere."""
        nothing: Values = [None] * count
        return RawRows(
            {
                each.name: given[each.name] if each.name in given else each.read(nothing, self.notation, [])
                for each in self.columns
            },
            count,
        )

    def check_names(self, given: Mapping[str, object]) -> None:
        """Raise Refused unless these are columns of the model, and all that it needs."""
        known = by_name(self.columns)
        for name in given:
            if name not in known and name not in self.ignored:
                close = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
                meant = f" (do you mean {close[0]}?)" if close else ""
                told = ", ".join(list(known)[:20])
                raise Refused(
                    422, "UnknownColumn", f"there is no column {name!r}{meant}; the model takes {told}"
                )
        lacking = [each.name for each in self.columns if each.needed and each.name not in given]
        if lacking:
            raise Refused(
                422,
                "MissingColumn",
                f"the request lacks the column {', '.join(lacking[:10])}: give a value, or null where a row has none",
            )


def of_preparation(fitted: FittedPreparation) -> InputTable:
    """What a model of prepared data takes: the raw columns of its source, but for the target."""
    plan = fitted.plan
    targets = frozenset(raw_target(fitted))
    optional = set(_optional(fitted, targets))
    options = plan.options
    columns = tuple(
        InputColumn(
            each.name,
            each.kind,
            each.shape if each.kind == "Image" else ((each.width,) if each.width > 1 else ()),
            needed=each.name not in optional,
        )
        for each in plan.columns
        if each.name not in targets
    )
    notation = Notation(
        frozenset({"", *plan.missing}),
        str(options.get("decimal") or "."),
        str(options.get("thousands") or ""),
        str(options.get("times") or ""),
    )
    is_csv = plan.format == "csv"
    delimiter, quote = (str(options.get(name, other)) for name, other in (("delimiter", ","), ("quote", '"')))
    return InputTable(columns, notation, delimiter if is_csv else ",", quote if is_csv else '"', targets)


def of_description(about: Description) -> InputTable:
    """What a model of samples as they are takes: its features by name, or as one list of numbers."""
    delimiter = about.dialect.delimiter or ","
    if about.columns and len(about.columns) == about.width:
        columns = tuple(InputColumn(name, "Number") for name in about.columns)
        return InputTable(columns, Notation(), delimiter)
    return InputTable((InputColumn(FEATURES, "Number", (about.width,)),), Notation(), delimiter)


def features_of(table: InputTable, rows: RawRows, bad: list[BadRow]) -> np.ndarray:
    """float64 [n, values] of a model of samples as they are. Rows that miss a value are noted as bad, with 0 there."""
    found = np.concatenate(
        [np.asarray(rows.columns[each.name], np.float64).reshape(rows.count, -1) for each in table.columns],
        axis=1,
    )
    nothing = np.isnan(found)
    for row in np.flatnonzero(nothing.any(axis=1)).tolist():
        place = int(nothing[row].argmax())
        name = table.columns[place].name if table.named else FEATURES
        bad.append(BadRow(row, name, "has no number there: the model was trained on complete rows"))
    return np.where(nothing, 0.0, found)


def raw_target(fitted: FittedPreparation) -> Iterator[str]:
    """The target's name among the source's columns, if it is one: predictions do without, so it may be wrong there."""
    target = fitted.samples.target
    if target is None:
        return
    for stage in reversed(fitted.state.stages):
        if isinstance(stage, Renamed):
            target = next((old for old, new in stage.names.items() if new == target), target)
    if any(each.name == target for each in fitted.plan.columns):
        yield target


def _optional(fitted: FittedPreparation, targets: frozenset[str]) -> Iterator[str]:
    """The columns that no feature follows from."""
    for each in fitted.plan.columns:
        if each.name not in targets:
            try:
                fitted.for_rows([each.name, *targets])
            except DataError:
                continue
            yield each.name


def with_ranges(
    table: InputTable, ranges: Mapping[str, Sequence[float]], seen: Mapping[str, Sequence[str]]
) -> InputTable:
    """The table with what training has seen of its columns."""
    columns = []
    for each in table.columns:
        least, most = ranges.get(each.name, (each.least, each.most))
        words = frozenset(seen[each.name]) if each.name in seen else each.seen
        columns.append(replace(each, least=float(least), most=float(most), seen=words))
    return replace(table, columns=tuple(columns))
