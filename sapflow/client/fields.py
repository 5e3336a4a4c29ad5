"""Fields of a spec in Python: names are in snake_case, and values may be models of the spec or plain dicts."""

from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from sapflow.errors import SpecError


def to_document(value: object, annotation: object, path: str) -> Any:
    """A field's value for the document. Raises SpecError if a field is given by both of its names.

    The spec checks the value later; unknown fields stay as they are.
    """
    if isinstance(value, BaseModel):
        return value.model_dump(by_alias=True, mode="json", exclude_unset=True, exclude_none=True)
    if isinstance(value, Mapping):
        model = _model_in(annotation)
        return _plain(value, path) if model is None else _fields(value, model, path)
    if isinstance(value, list | tuple):
        inner = [argument for each in _parts(annotation) for argument in get_args(each)]
        kind = inner[0] if inner else None
        return [to_document(each, kind, f"{path}[{index}]") for index, each in enumerate(value)]
    return _plain(value, path)


def _fields(given: Mapping[Any, Any], model: type[BaseModel], path: str) -> dict[str, Any]:
    aliases = {name: field.alias or name for name, field in model.model_fields.items()}
    kinds = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
    found: dict[str, Any] = {}
    for name, value in given.items():
        alias = aliases.get(name, str(name))
        if alias in found:
            raise SpecError([(f"{path}.{alias}", f"is given twice, as {name} too; leave one of them out")])
        if value is not None:
            found[alias] = to_document(value, kinds.get(alias), f"{path}.{alias}")
    return found


def _model_in(annotation: object) -> type[BaseModel] | None:
    found = [each for each in _parts(annotation) if isinstance(each, type) and issubclass(each, BaseModel)]
    return found[0] if found else None


def _parts(annotation: object) -> list[object]:
    """The types of a field, without bounds."""
    if get_origin(annotation) is Annotated:
        return _parts(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [part for each in get_args(annotation) for part in _parts(each)]
    return [annotation]


def _plain(value: object, path: str) -> Any:
    """The value as YAML and JSON can express it: NumPy's numbers, paths and members of an Enum are converted."""
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    match value:
        case Mapping():
            return {str(name): _plain(each, f"{path}.{name}") for name, each in value.items()}
        case list() | tuple():
            return [_plain(each, f"{path}[{index}]") for index, each in enumerate(value)]
        case Enum():
            return value.value
        case PurePath():
            return str(value)
        case str() | int() | float() | None:
            return value
    message = f"is a {type(value).__name__}, which YAML has no word for; give numbers, text, lists and dicts"
    raise SpecError([(path, message)])
