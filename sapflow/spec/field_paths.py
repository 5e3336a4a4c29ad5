"""Paths of fields in a document, such as `spec.model.args.hidden[0]`, and what lies there."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from sapflow.spec.problems import bare_types

_PART = re.compile(r"\.?([A-Za-z][A-Za-z0-9_-]*)|\[([0-9]+)\]")

Part = str | int


def parts_of(path: str) -> list[Part]:
    """The names and indices of a path."""
    return [name or int(index) for name, index in _PART.findall(path)]


def given(document: object, path: str) -> bool:
    """Whether the document has something at the path."""
    for part in parts_of(path):
        if isinstance(part, int):
            if not isinstance(document, Sequence) or isinstance(document, str) or part >= len(document):
                return False
            document = document[part]
        elif isinstance(document, Mapping) and part in document:
            document = document[part]
        else:
            return False
    return True


def value_at(document: Any, path: str) -> Any:
    """What the document has at the path; None where it has nothing."""
    if not given(document, path):
        return None
    for part in parts_of(path):
        document = document[part]
    return document


def place(model: type[BaseModel], path: str) -> Literal["Field", "Free", "Unknown"]:
    """What a document of `model` may have at the path: a field, something in a free-form mapping such as a model's
    `args`, or nothing. An element of a list is a field."""
    types: list[object] = [model]
    for part in parts_of(path):
        bare = [each for kind in types for each in bare_types(kind)]
        if any(get_origin(each) is dict for each in bare):
            return "Free"
        if isinstance(part, int):
            types = [get_args(each)[0] for each in bare if get_origin(each) is list]
        else:
            types = [
                field.annotation
                for each in bare
                if isinstance(each, type) and issubclass(each, BaseModel)
                for name, field in each.model_fields.items()
                if (field.alias or name) == part
            ]
    return "Field" if types else "Unknown"


def overlap(one: str, other: str) -> bool:
    """Whether two paths are the same, or one lies within the other."""
    ours, theirs = parts_of(one), parts_of(other)
    shorter = min(len(ours), len(theirs))
    return ours[:shorter] == theirs[:shorter]


def replaced(document: Any, path: str, value: Any) -> Any:
    """The document with the value at the path; mappings that are not there are made. Raises KeyError for a place that
    cannot be: in something that is no mapping, or outside a list."""
    return _replaced(document, parts_of(path), value, path)


def _replaced(document: Any, parts: Sequence[Part], value: Any, path: str) -> Any:
    if not parts:
        return value
    part, rest = parts[0], parts[1:]
    if isinstance(part, int):
        if not isinstance(document, list) or part >= len(document):
            raise KeyError(path)
        inner = _replaced(document[part], rest, value, path)
        return [*document[:part], inner, *document[part + 1 :]]
    if document is None:
        document = {}
    if not isinstance(document, Mapping):
        raise KeyError(path)
    return {**document, part: _replaced(document.get(part), rest, value, path)}


def removed(document: Any, path: str) -> Any:
    """The document without what lies at the path, if there is anything."""
    return _removed(document, parts_of(path)) if given(document, path) else document


def _removed(document: Any, parts: Sequence[Part]) -> Any:
    part, rest = parts[0], parts[1:]
    if isinstance(part, int):
        return [*document[:part], *([_removed(document[part], rest)] if rest else []), *document[part + 1 :]]
    if not rest:
        return {name: value for name, value in document.items() if name != part}
    return {**document, part: _removed(document[part], rest)}
