"""Generates the reference of the spec from its models: `python -m sapflow.spec.reference [--check]`.

The output is docs/reference/spec.md; `--check` fails if that file is not up to date.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel, StringConstraints
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from sapflow.spec.rule import Rule
from sapflow.spec.rules import RULES
from sapflow.spec.training_job import API_VERSION, CLUSTER_ONLY, KIND, Metadata, Spec

DEFAULT_PATH = Path("docs/reference/spec.md")

_TYPES = {int: "whole number", float: "number", str: "text", bool: "true or false"}
_MAPPING = "mapping, see below"
_PIPE = "\\|"
_SIGNS = {Ge: "≥", Gt: ">", Le: "≤", Lt: "<"}
_MORE_RULES = (
    "`spec.merge.structure` starts at 1, ends at `spec.workers`, and no level is wider than the one below.",
    "What names a metric (`spec.algorithm.target`, `targetAccuracy`, `earlyStopping`, `spec.evaluation.metrics`, "
    "`keepBest`) needs held-out samples, and a metric that the data's task has (docs/tasks.md).",
    "`spec.model.loss` must fit the data: MSE, L1 or Huber for values, BinaryCrossEntropy for two classes or several "
    "labels, CrossEntropy for more classes.",
    "`spec.model.classWeights` and `labelSmoothing` are for classes and labels, `spec.data.scaleTarget` is for values.",
    "`spec.data.split: Stratified` is for one class a sample, and for sources without a validation set of their own.",
    "`spec.data.options.group` excludes `spec.data.split: Stratified` and `spec.data.validation`.",
    "`spec.data.validation`: leave `spec.data.validationFraction` out; a class that no training sample has is refused, "
    "unless `options: classes` declares it, and so is a file that is in both sources.",
    "`spec.memory.worker` and `spec.memory.merger` must not be below what the model is estimated to need.",
    "`spec.optimizer.groups`: each pattern must match a parameter of the model.",
    "`spec.optimizer.schedule.metric: ValidationLoss` needs held-out samples.",
    "`spec.merge.shards` is at most the number of blocks that the model's parameters make.",
)
"""Rules that are computed from the structure, or from data and model; `sapflow validate` checks them, too."""


def render() -> str:
    """The page in Markdown."""
    lines = [
        f"# {KIND} reference",
        "",
        "Written by `python -m sapflow.spec.reference` from `sapflow/spec/training_job.py`: change it there.",
        "",
        f"A job is one YAML document with `apiVersion: {API_VERSION}`, `kind: {KIND}`, `metadata` and `spec`.",
        "Unknown fields are refused, save in `args` and `options`, which belong to models and sources.",
        "",
    ]
    for path, model in _sections():
        lines += _section(path, model)
    lines += ["## Rules across fields", ""]
    lines += [_rule(rule) for rule in RULES]
    lines += [f"- {text}" for text in _MORE_RULES]
    lines += ["", "## For clusters only", "", "A local run refuses these, because no field is ignored.", ""]
    lines += [f"- `{path}`: {why}" for path, why in CLUSTER_ONLY.items()]
    lines.append("")
    return "\n".join(lines)


def _rule(rule: Rule) -> str:
    where = " (in a cluster)" if rule.runtime == "kubernetes" else ""
    return f"- `spec.{rule.field}` {rule.message}{where}."


def _sections() -> Iterator[tuple[str, type[BaseModel]]]:
    yield "metadata", Metadata
    yield from _below("spec", Spec)


def _below(path: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    yield path, model
    for name, field in model.model_fields.items():
        inner = _model(field)
        if inner is not None:
            yield from _below(f"{path}.{field.alias or name}", inner)


def _model(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a field, or of the elements of its list; None if it has none."""
    kind = _bare(field.annotation)
    if get_origin(kind) is list:
        kind = _bare(get_args(kind)[0])
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _section(path: str, model: type[BaseModel]) -> list[str]:
    about = _own_doc(model)
    lines = [f"## {path}", "", *([about, ""] if about else [])]
    lines += ["| field | type | default | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        cells = (f"`{field.alias or name}`", _type(field), _default(field), _meaning(path, name, field))
        lines.append(f"| {' | '.join(cell.replace('|', _PIPE) for cell in cells)} |")
    return [*lines, ""]


def _own_doc(model: type[BaseModel]) -> str:
    """The docstring of the class itself, as one paragraph."""
    return " ".join(str(model.__dict__.get("__doc__") or "").split())


def _type(field: FieldInfo) -> str:
    bounds = [*_bounds(field.annotation), *(bound for each in field.metadata for bound in _bound(each))]
    return ", ".join([_words(field.annotation), *dict.fromkeys(bounds)])


def _words(kind: Any) -> str:
    """A type as text for people, without None, which YAML leaves out."""
    kind = _bare(kind)
    if get_origin(kind) is Literal:
        return " or ".join(f"`{value}`" for value in get_args(kind))
    if get_origin(kind) is list:
        inner = _words(get_args(kind)[0])
        return "list of mappings, see below" if inner == _MAPPING else f"list of {inner}s"
    if get_origin(kind) is dict:
        return "mapping"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _MAPPING
    return _TYPES[kind]


def _bare(kind: Any) -> Any:
    """A type without None and annotations."""
    while True:
        if get_origin(kind) in (Union, UnionType):
            (kind,) = [each for each in get_args(kind) if each is not NoneType]
        elif hasattr(kind, "__metadata__"):
            kind = get_args(kind)[0]
        else:
            return kind


def _bounds(kind: Any) -> Iterator[str]:
    """The bounds in a type's annotations, each as text."""
    for each in getattr(kind, "__metadata__", ()):
        yield from _bound(each)
    if get_origin(kind) in (Union, UnionType) or hasattr(kind, "__metadata__"):
        for inner in get_args(kind):
            yield from _bounds(inner)
    elif get_origin(kind) is list:
        for bound in _bounds(get_args(kind)[0]):
            yield f"each {bound}"


def _bound(limit: Any) -> Iterator[str]:
    match limit:
        case FieldInfo():
            for each in limit.metadata:
                yield from _bound(each)
        case Ge(value) | Gt(value) | Le(value) | Lt(value):
            shown = f"{value:,}" if isinstance(value, int) and value < 2**53 else f"{value}"
            yield f"{_SIGNS[type(limit)]} {shown}"
        case MinLen(least):
            yield f"at least {least} long"
        case MaxLen(most):
            yield f"at most {most} long"
        case StringConstraints(pattern=pattern):
            if limit.min_length is not None:
                yield f"at least {limit.min_length} long"
            if limit.max_length is not None:
                yield f"at most {limit.max_length:,} long"
            if pattern is not None:
                yield f"matches `{pattern}`"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.default
    if value is None or value is PydanticUndefined:
        return "left out"
    if isinstance(value, BaseModel):
        given = value.model_dump(by_alias=True, exclude_unset=True, exclude_none=True)
        return f"`{json.dumps(given)}`" if given else "all defaults"
    return f"`{json.dumps(value)}`"


def _meaning(path: str, name: str, field: FieldInfo) -> str:
    inner = _model(field)
    if field.description or inner is None:
        return field.description or ""
    return f"{_own_doc(inner)} See [{path}.{field.alias or name}](#{_anchor(path, field.alias or name)})."


def _anchor(path: str, name: str) -> str:
    return f"{path}.{name}".lower().replace(".", "")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m sapflow.spec.reference",
        description="Write the reference of the spec from its models.",
    )
    parser.add_argument("path", nargs="?", type=Path, default=DEFAULT_PATH, help="default: %(default)s")
    parser.add_argument("--check", action="store_true", help="only fail where the file is out of date")
    given = parser.parse_args(arguments)
    page = render()
    if not given.check:
        given.path.parent.mkdir(parents=True, exist_ok=True)
        given.path.write_text(page, encoding="utf-8")
        return 0
    if given.path.is_file() and given.path.read_text(encoding="utf-8") == page:
        return 0
    print(f"{given.path} is out of date: run python -m sapflow.spec.reference", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
