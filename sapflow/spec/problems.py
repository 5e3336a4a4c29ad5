"""Messages about the problems of a document: each names the field, and says what would be right."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from sapflow.spec.types import IN_WORDS

Problem = tuple[str, str]
"""A field's path and a message."""


def explain(item: Mapping[str, Any], root: type[BaseModel]) -> Problem:
    """The problem for one of pydantic's errors about a document of the model `root`."""
    location = list(item["loc"])
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    given = item["input"]
    match item["type"]:
        case "extra_forbidden":
            allowed = _fields(root, location[:-1])
            return path, f"is not a field{_meant(location[-1], allowed)}; allowed: {', '.join(allowed)}"
        case "missing":
            return path, "is required"
        case "value_error":
            return path, str(item["ctx"]["error"])
        case "string_pattern_mismatch" if item["ctx"]["pattern"] in IN_WORDS:
            return path, f"{IN_WORDS[item['ctx']['pattern']]}, got {given!r}"
        case "literal_error":
            choices = re.findall(r"'([^']*)'", item["ctx"]["expected"])
            return path, f"must be {item['ctx']['expected']}, got {given!r}{_meant(given, choices)}"
        case _:
            said = item["msg"].replace("Input should ", "must ", 1)
            return path, f"{said[0].lower()}{said[1:]}, got {given!r}"


def lenient(document: Mapping[str, Any], model: type[BaseModel], path: str = "") -> Iterator[Problem]:
    """Problems that pydantic accepts and the API server does not: numbers and booleans as text, Python's names."""
    for name, field in model.model_fields.items():
        alias = field.alias or name
        if name != alias and name in document:
            yield f"{path}.{name}".lstrip("."), f"is not a field (do you mean {alias}?)"
        if alias in document:
            yield from _misfits(document[alias], field.annotation, f"{path}.{alias}".lstrip("."))


def _misfits(value: object, annotation: object, path: str) -> Iterator[Problem]:
    parts = list(bare_types(annotation))
    if isinstance(value, dict):
        for each in models_of(annotation):
            yield from lenient(value, each, path)
    elif isinstance(value, list):
        for inner in (argument for each in parts for argument in get_args(each)):
            for index, item in enumerate(value):
                yield from _misfits(item, inner, f"{path}[{index}]")
    elif isinstance(value, str | int | float) and parts and all(each in (int, float, bool) for each in parts):
        word = "true or false" if bool in parts else "a number"
        if isinstance(value, str):
            yield path, f"must be {word} without quotation marks, got {value!r}"
        elif isinstance(value, bool) != (bool in parts):
            yield path, f"must be {word}, got {str(value).lower()}"


def bare_types(annotation: object) -> Iterator[object]:
    """The types of a field, without None and without bounds."""
    if get_origin(annotation) is Annotated:
        yield from bare_types(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for each in get_args(annotation):
            yield from bare_types(each)
    elif annotation is not NoneType:
        yield annotation


def _meant(given: object, allowed: Iterable[str]) -> str:
    """The question "did you mean …?" if an allowed value resembles the given one; else ''."""
    by_lower = {each.lower(): each for each in allowed}
    close = difflib.get_close_matches(str(given).lower(), by_lower, n=1, cutoff=0.7)
    return f" (do you mean {by_lower[close[0]]}?)" if close else ""


def models_of(annotation: object) -> Iterator[type[BaseModel]]:
    """The models inside a type, such as an optional field or a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from models_of(inner)


def _fields(model: type[BaseModel], location: Iterable[str | int]) -> list[str]:
    """The fields that are allowed at a location of the document."""
    for name in location:
        for field_name, field in model.model_fields.items():
            if (field.alias or field_name) == name:
                model = next(models_of(field.annotation), model)
    return [field.alias or name for name, field in model.model_fields.items()]
