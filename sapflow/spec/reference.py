"""Generates the references of the specs from their models: `python -m sapflow.spec.reference [--check]`.

The output is docs/reference/spec.md, tuning.md of TuningJobs and service.md of ModelServices; `--check` fails if one is
not up to date.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel, StringConstraints
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from sapflow.spec.model_service import SERVICE_KIND, ModelServiceSpec
from sapflow.spec.rule import Rule
from sapflow.spec.rules import RULES
from sapflow.spec.service_document import SERVICE_CLUSTER_ONLY
from sapflow.spec.service_rules import service_rules
from sapflow.spec.training_job import API_VERSION, CLUSTER_ONLY, KIND, Metadata, Spec
from sapflow.spec.tuning_document import TUNING_CLUSTER_ONLY
from sapflow.spec.tuning_job import TUNING_KIND, TuningSpec
from sapflow.spec.tuning_rules import TUNING_RULES

DEFAULT_PATH = Path("docs/reference/spec.md")
TUNING_PATH = DEFAULT_PATH.with_name("tuning.md")
SERVICE_PATH = DEFAULT_PATH.with_name("service.md")

_TYPES = {int: "whole number", float: "number", str: "text", bool: "true or false"}
_MAPPING = "mapping, see below"
_PIPE = "\\|"
_SIGNS = {Ge: "≥", Gt: ">", Le: "≤", Lt: "<"}
_MORE_RULES = (
    "`spec.merge.structure` starts at 1, ends at `spec.workers`, and no level is wider than the one below.",
    "What names a metric (`spec.algorithm.target`, `targetAccuracy`, `earlyStopping`, `spec.evaluation.metrics`, "
    "`keepBest`) needs held-out samples, and a metric that the data's task has (docs/tasks.md).",
    "`spec.model.loss` must fit the data: MSE, L1 or Huber for values, BinaryCrossEntropy for two classes or several "
    "labels, Hinge or SquaredHinge for two classes, CrossEntropy for more classes.",
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

_MORE_TUNING_RULES = (
    "`spec.template` must be a TrainingJob by itself, and with each parameter at its bounds or choices.",
    "`spec.parameters`: each path is a field of a TrainingJob; within `args` and lists, one that the template has.",
    "`spec.parameters`: none lies within another; a `when` names an earlier one, and values that it may have.",
    "`spec.maxTrials` is at least the size of a Grid, and the number of `initial` sets.",
    "`spec.maxWorkers` is at least the workers of the widest trial.",
    "`spec.prune.first` is below the trials' length.",
    "`spec.objective.goal` is a value that the metric can have.",
    "`spec.initial` has values that the parameters may have; a Grid needs none.",
)


@dataclass(frozen=True)
class Page:
    """The reference of one kind."""

    kind: str
    path: Path
    made_from: str
    what: str
    free: str
    """Where unknown fields are not refused, and why."""
    spec: type[BaseModel]
    rules: Sequence[Rule[Any]]
    more_rules: Sequence[str]
    cluster_only: Mapping[str, str]

    def render(self) -> str:
        """The page in Markdown."""
        lines = [
            f"# {self.kind} reference",
            "",
            f"Written by `python -m sapflow.spec.reference` from `sapflow/spec/{self.made_from}`: change it there.",
            "",
            f"{self.what} is one YAML document with `apiVersion: {API_VERSION}`, `kind: {self.kind}`, `metadata` and "
            "`spec`.",
            f"Unknown fields are refused, save in {self.free}.",
            "",
        ]
        for path, model in _sections(self.spec):
            lines += _section(path, model)
        lines += ["## Rules across fields", ""]
        lines += [_rule(rule) for rule in self.rules]
        lines += [f"- {text}" for text in self.more_rules]
        lines += [
            "",
            "## For clusters only",
            "",
            "A local run refuses these, because no field is ignored.",
            "",
        ]
        lines += [f"- `{path}`: {why}" for path, why in self.cluster_only.items()]
        lines.append("")
        return "\n".join(lines)


PAGES = (
    Page(
        KIND,
        DEFAULT_PATH,
        "training_job.py",
        "A job",
        "`args` and `options`, which belong to models and sources",
        Spec,
        RULES,
        _MORE_RULES,
        CLUSTER_ONLY,
    ),
    Page(
        TUNING_KIND,
        TUNING_PATH,
        "tuning_job.py",
        "A search",
        "`args` and `options`, which belong to models, sources and samplers",
        TuningSpec,
        TUNING_RULES,
        _MORE_TUNING_RULES,
        TUNING_CLUSTER_ONLY,
    ),
    Page(
        SERVICE_KIND,
        SERVICE_PATH,
        "model_service.py",
        "A service",
        "`thresholds` and `messages`, which have classes for names",
        ModelServiceSpec,
        service_rules(),
        (),
        SERVICE_CLUSTER_ONLY,
    ),
)


def render() -> str:
    """The page of TrainingJobs in Markdown."""
    return PAGES[0].render()


def _rule(rule: Rule[Any]) -> str:
    where = " (in a cluster)" if rule.runtime == "kubernetes" else ""
    return f"- `spec.{rule.field}` {rule.message}{where}."


def _sections(spec: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    yield "metadata", Metadata
    yield from _below("spec", spec)


def _below(path: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    yield path, model
    for name, field in model.model_fields.items():
        inner = _model(field)
        if inner is not None and inner is not Spec:  # a template's spec has a page of its own
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
        if inner == _MAPPING:
            return "list of mappings, see below"
        return f"list of {inner.replace('list', 'lists', 1) if inner.startswith('list') else f'{inner}s'}"
    if get_origin(kind) is dict:
        return "mapping"
    if kind is Any:
        return "value"
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
        description="Write the references of the specs from their models.",
    )
    parser.add_argument(
        "path", nargs="?", type=Path, help="where TrainingJobs' goes; default: docs/reference"
    )
    parser.add_argument("--check", action="store_true", help="only fail where the file is out of date")
    given = parser.parse_args(arguments)
    pages = {page.path: page for page in PAGES} if given.path is None else {given.path: PAGES[0]}
    stale = 0
    for path, page in pages.items():
        text = page.render()
        if not given.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            print(f"{path} is out of date: run python -m sapflow.spec.reference", file=sys.stderr)
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main())
