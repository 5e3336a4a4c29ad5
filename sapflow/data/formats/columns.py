"""What the columns of a table are for. The files of one set are put together by the names of their columns."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field, model_validator

from sapflow.data.options import FileOptions, OptionalPlace, Place
from sapflow.errors import DataError

MAX_NAMED = 16_384
MAX_NAMES = 1 << 20
"""The names of up to this many features, of so many characters in all, are kept beside the data and in the model."""
_INDEX_NAMES = ("", "Unnamed: 0")
"""What pandas calls an index in the first column of a CSV file, when it writes one and when it reads it again."""


class TableOptions(FileOptions):
    """`target` is a column's name or its number; `targets` are several of them. `group` is the column that says which
    samples belong together: they are held out together, and it is no feature."""

    target: Place = -1
    targets: Annotated[list[Place], Field(min_length=1)] | None = None
    group: OptionalPlace = None

    @model_validator(mode="after")
    def _one_of_them(self) -> "TableOptions":
        if self.targets is not None and "target" in self.model_fields_set:
            raise ValueError("target names one column, targets several: give one of the two")
        if self.targets is not None and len(self.targets) > 1 and self.classes is not None:
            raise ValueError("classes is for one target column: several are labels, 0 or 1, or values")
        return self

    @property
    def asked_targets(self) -> Sequence[int | str]:
        return [self.target] if self.targets is None else self.targets

    @property
    def named_columns(self) -> tuple[str, ...]:
        """The columns that the options call by name."""
        return tuple(each for each in (*self.asked_targets, self.group) if isinstance(each, str))


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a file by what they are for, each as its place in the file from 0."""

    origin: str
    """The file whose columns the others follow."""
    names: tuple[str, ...]
    """All of them; their places as text where the file has no names for them."""
    named: bool
    features: tuple[int, ...]
    targets: tuple[int, ...] = ()
    group: int | None = None

    @property
    def used(self) -> tuple[int, ...]:
        """The columns that samples are made of."""
        return (*self.features, *self.targets, *(() if self.group is None else (self.group,)))

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The features' names, if they have any. pandas numbers columns that nobody has named: those are none."""
        found = tuple(self.names[place] for place in self.features)
        unnamed = (
            not self.named
            or is_count(self.names)
            or sum(map(len, found)) > MAX_NAMES
            or len(found) > MAX_NAMED
        )
        return () if unnamed else found

    def within(self, names: Sequence[str] | None, origin: str, index: Collection[str] = ()) -> "Columns":
        """The same columns in another file of the set, wherever they stand there.

        `names` is None in a file that does not name its columns; then their places count. Raises DataError if columns
        are missing, or others are there.
        """
        if names is None:
            return replace(self, named=False)
        if not self.named:
            raise DataError(
                f"{origin} names its columns ({_list(names)}) and {self.origin} does not: add the header there, or "
                "take it out here (options: header says whether files have one)"
            )
        refuse_twice(names, origin)
        used = [self.names[place] for place in self.used]
        missing = [name for name in used if name not in names]
        index = index_columns(names, index)
        odd = [name for name in names if name not in used and name not in index]
        if missing or odd:
            lacks = f"lacks {_list(missing)}" if missing else ""
            has = f"has {_list(odd)} in addition" if odd else ""
            raise DataError(
                f"{origin} {' and '.join(filter(None, (lacks, has)))}, compared with {self.origin}: files of one set "
                "have the same columns, in any order; rename, add or take out what differs"
            )
        places = {name: place for place, name in enumerate(names)}
        return replace(
            self,
            names=tuple(names),
            features=tuple(places[self.names[place]] for place in self.features),
            targets=tuple(places[self.names[place]] for place in self.targets),
            group=None if self.group is None else places[self.names[self.group]],
        )


class SetColumns:
    """The columns of a set's first file, which all others follow, and those of a second source for validation, too.

    They are known once that file has been begun.
    """

    def __init__(self, leader: object = None) -> None:
        """`leader`: the columns of the samples for training, where these are for validation; None, too, if those are in
        no table."""
        self._leader = leader if isinstance(leader, SetColumns) else None
        self._own: Columns | None = None

    @property
    def first(self) -> Columns | None:
        """The columns of the first file; None before it has been begun."""
        return self._own if self._leader is None or self._leader.first is None else self._leader.first

    def of_file(
        self,
        names: Sequence[str] | None,
        width: int,
        options: TableOptions,
        origin: str,
        index: Collection[str] = (),
    ) -> Columns:
        """The columns of a file of `width` columns, of which `names` is None where it names none. Raises DataError."""
        first = self.first
        if first is None:
            every = names or tuple(map(str, range(width)))
            self._own = for_training(every, options, origin, named=names is not None, index=index)
            return self._own
        here = first.within(names, origin, index)
        if names is None and width != len(first.names):
            raise DataError(
                f"{origin} has {width} columns where {first.origin} has {len(first.names)}; files of one set have the "
                "same columns"
            )
        return here


def for_training(
    names: Sequence[str],
    options: TableOptions,
    origin: str,
    *,
    named: bool = True,
    index: Collection[str] = (),
) -> Columns:
    """The columns of a set's first file. All that are neither targets nor pandas' index (`index` of the file's
    columns) are features. Raises DataError."""
    if named:
        refuse_twice(names, origin)
    if len(names) < 2:
        raise DataError(
            f"{origin} has one column only; a target and a feature are needed (of CSV, check options: delimiter)"
        )
    targets = [_place(each, names, origin, named) for each in options.asked_targets]
    if len(set(targets)) < len(targets):
        raise DataError(f"options: targets names a column of {origin} twice")
    group = None if options.group is None else _place(options.group, names, origin, named, "group")
    if group in targets:
        raise DataError(
            f"options: group names the target of {origin}: groups are told by a column of their own"
        )
    left_out = index_columns(names, index) if named else ()
    features = [
        place
        for place, name in enumerate(names)
        if place not in targets and place != group and name not in left_out
    ]
    if not features:
        others = "targets" if group is None else "targets or the group"
        raise DataError(f"{origin}: all its columns are {others}; a feature is needed")
    return Columns(origin, tuple(names), named, tuple(features), tuple(targets), group)


def for_prediction(
    names: Sequence[str] | None, width: int, expected: Sequence[str], origin: str, index: Collection[str] = ()
) -> tuple[Columns, list[str]]:
    """The features in a file of `width` columns, in a model's order, and the names of the columns that it ignores.

    `expected` are the model's features; if it or the file has no names for them, their places count. Raises DataError
    if features are missing.
    """
    if names is None:
        return Columns(origin, tuple(map(str, range(width))), False, tuple(range(width))), []
    refuse_twice(names, origin)
    left_out = index_columns(names, index)
    rest = [place for place, name in enumerate(names) if name not in left_out]
    if not expected or (is_count(names) and not {*expected} <= {*names}):
        return Columns(origin, tuple(names), True, tuple(rest)), []
    if missing := [name for name in expected if name not in names]:
        raise DataError(
            f"{origin} has no column {_list(missing)}: the model was trained on the columns {_list(expected)}, and is "
            "given them by these names, in any order"
        )
    places = tuple(list(names).index(name) for name in expected)
    return Columns(origin, tuple(names), True, places), [
        names[place] for place in rest if place not in places
    ]


def index_columns(names: Sequence[str], index: Collection[str] = ()) -> Collection[str]:
    """The columns that hold pandas' index: those that the file says, or the nameless first one."""
    return {*index, *(name for name in names[:1] if name in _INDEX_NAMES)}


def refuse_twice(names: Sequence[str], origin: str) -> None:
    """Raise DataError if two columns have one name: a second one of the target's would give the answer away."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(f"{origin} has two columns of the name {name!r}: rename one, or leave it out")
        seen.add(name)


def is_count(names: Sequence[str]) -> bool:
    """Whether the names are 0, 1, 2 …, as pandas numbers columns that nobody has named."""
    return list(names) == [str(place) for place in range(len(names))]


def _place(asked: int | str, names: Sequence[str], origin: str, named: bool, what: str = "target") -> int:
    if isinstance(asked, str) and asked in names:
        return list(names).index(asked)
    if isinstance(asked, int) and -len(names) <= asked < len(names):
        return asked % len(names)
    hint = ""
    if str(asked) in names and named:
        hint = f'; for the column of the name {asked}, write it in quotation marks: "{asked}"'
    elif not named and isinstance(asked, str):
        hint = " (the first row was taken for a sample; if it is a header, say options: header: Present)"
    raise DataError(
        f"{origin} has no column {asked!r} for the {what}; its columns are {', '.join(names)}{hint}"
    )


def _list(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:5]) + (" …" if len(names) > 5 else "")
