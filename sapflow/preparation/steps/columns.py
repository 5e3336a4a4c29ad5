"""Which columns a step means: names and patterns against the columns that there are."""

import difflib
import re
from collections.abc import Iterable, Sequence

from sapflow.preparation.step import ColumnType, Schema, StepProblem
from sapflow.text import some_of

_WILD = re.compile(r"[*?]")
_COMPARED = 2_000
"""Among so many names at most one is looked for that is like a wrong one."""


def resolve(
    patterns: Iterable[str],
    given: Schema,
    kinds: Sequence[str] | None = None,
    *,
    field: str = "columns",
    spared: str | None = None,
) -> tuple[str, ...]:
    """The names of the columns, each once, in the order in which the columns are.

    `*` is any text and `?` one character, but for a name that a column has as it is. With `kinds` each column must be
    of one of them, with one value a row. `spared` is the target, which steps over features mean only where it is
    written out: no pattern matches it. Raises StepProblem where a name or pattern matches nothing, or a column is of
    another kind.
    """
    found: set[str] = set()
    for pattern in patterns:
        if pattern in given:
            found.add(pattern)
            continue
        matched = _matched(pattern, given)
        if not matched:
            if not _WILD.search(pattern):
                raise unknown(pattern, given, field)
            raise StepProblem(f"no column matches {pattern}; there are {some_of(given)}", field)
        found |= matched - {spared}
    if not found:
        raise StepProblem(f"only the target {spared} matches: write its name out if it is meant", field)
    names = tuple(name for name in given if name in found)
    if kinds is not None:
        for name in names:
            require(name, given[name], kinds, field)
    return names


def one(name: str, given: Schema, kinds: Sequence[str] | None = None, *, field: str = "column") -> str:
    """The column of this very name. Raises StepProblem as `resolve` does."""
    if name not in given:
        raise unknown(name, given, field)
    if kinds is not None:
        require(name, given[name], kinds, field)
    return name


def unknown(name: str, given: Schema, field: str) -> StepProblem:
    """The problem that there is no such column."""
    near = difflib.get_close_matches(name, given, 1) if len(given) <= _COMPARED else []
    meant = f" ({near[0]} may be meant)" if near else ""
    return StepProblem(f"no column is called {name}{meant}; there are {some_of(given)}", field)


def require(name: str, column: ColumnType, kinds: Sequence[str], field: str) -> None:
    """Raise StepProblem unless the column is of one of the kinds, and has one value a row."""
    if column.kind not in kinds:
        raise StepProblem(
            f"column {name} is of type {column.kind}, and this needs {' or '.join(kinds)}: leave it out, cast it "
            "before, or name its type in prepare.columns if it was not found rightly (then other values are bad rows)",
            field,
        )
    if column.width != 1:
        raise StepProblem(
            f"column {name} has {column.width} features by a step before, and this needs one value a row: do it before "
            "that step, or leave the column out",
            field,
        )


def unused(name: str, given: Schema, field: str) -> str:
    """The name of a new column. Raises StepProblem if a column has it."""
    if name in given:
        raise StepProblem(f"there is a column {name} already: rename or drop it before", field)
    return name


def _matched(pattern: str, given: Schema) -> set[str]:
    if not _WILD.search(pattern):
        return set()
    signs = {"*": ".*", "?": "."}
    expression = re.compile("".join(signs.get(sign, re.escape(sign)) for sign in pattern), re.DOTALL)
    return {name for name in given if expression.fullmatch(name)}
