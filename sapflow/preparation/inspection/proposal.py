"""A `spec.data` to begin with: the source as it was read, and a preparation that fits what was found in it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import yaml

from sapflow.preparation.inspection.column_summary import ColumnSummary
from sapflow.preparation.inspection.findings import (
    HASHED,
    LEAK,
    MANY,
    are_codes,
    is_constant,
    is_free_text,
    is_identifier,
)
from sapflow.preparation.inspection.inspection import Inspection, are_classes
from sapflow.spec.preparation.prepare import DEFAULT_MISSING
from sapflow.spec.yaml_text import Loader

_BUCKETS, _WORDS, _SIDE = 256, 1000, 64
_TARGETS = ("target", "label", "class", "y")
_SET, _HELD = "set", ("validation", "test")
_STRATIFIED, _LEAST_OF_CLASS = 1000, 5
_SPARE_BAD = 2
"""As many bad rows as were seen, and so many times more, are allowed."""


@dataclass
class _Kinds:
    """The columns by what is done to them."""

    drop: dict[str, str] = field(default_factory=dict)
    """With the reason."""
    clip: list[ColumnSummary] = field(default_factory=list)
    impute: list[str] = field(default_factory=list)
    indicate: list[str] = field(default_factory=list)
    scale: list[str] = field(default_factory=list)
    few: list[str] = field(default_factory=list)
    many: list[str] = field(default_factory=list)
    hashed: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    dates: dict[tuple[str, ...], list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Proposal:
    """`data` is valid as spec.data; `notes` say in sentences what it does that is not to be seen."""

    data: dict[str, Any]
    notes: tuple[str, ...]

    def yaml(self) -> str:
        """The block to paste, with the notes as comments."""
        block = yaml.dump(
            {"data": self.data},
            Dumper=_Dumper,
            sort_keys=False,
            default_flow_style=None,
            allow_unicode=True,
            width=120,
        )
        return "".join(f"# {note}\n" for note in self.notes) + block


class _Dumper(yaml.SafeDumper):
    """Quotes what the loader of jobs would read as a number."""

    yaml_implicit_resolvers = Loader.yaml_implicit_resolvers

    def ignore_aliases(self, data: Any) -> bool:
        """Lists that are the same are written out."""
        return True


def propose(found: Inspection) -> Proposal:
    """The block for what was found."""
    target = found.column(found.target or _guessed(found))
    notes = [] if found.target else [f"No target was named: {target.name} is taken."]
    kinds = _Kinds()
    split, parts = _split(found, target)
    if parts is not None:
        kinds.drop[parts] = "it tells the parts apart"
    for each in found.columns:
        if each.name not in (target.name, parts):
            _sort(each, found, kinds)
    notes += [f"{name} is dropped: {reason}." for name, reason in kinds.drop.items()]
    prepare: dict[str, Any] = {"columns": {each.name: each.column.kind for each in found.columns}}
    if found.missing != DEFAULT_MISSING:
        prepare["missing"] = list(found.missing)
    prepare["target"] = target.name
    if found.bad:
        prepare["maxBadShare"] = float(f"{min(0.99, _SPARE_BAD * found.bad / found.rows):.1g}")
    if split:
        prepare["split"] = split
    steps = list(_steps(kinds, target))
    if steps:
        prepare["steps"] = steps
    data: dict[str, Any] = {"source": found.source, "format": found.format}
    if found.options:
        data["options"] = dict(found.options)
    return Proposal(data | {"prepare": prepare}, tuple(notes))


def _guessed(found: Inspection) -> str:
    """The column that is likely the target: by its name, or the last one that can be."""
    usable = [each.name for each in found.columns if each.column.kind != "Image" and each.present]
    named = [name for name in usable if name.lower() in _TARGETS]
    return (named or usable or [found.columns[-1].name])[-1]


def _sort(each: ColumnSummary, found: Inspection, kinds: _Kinds) -> None:
    """Put a feature where it belongs."""
    name = each.name
    if not each.present:
        kinds.drop[name] = "all its values are missing"
    elif is_constant(each):
        kinds.drop[name] = "it is constant"
    elif is_identifier(each):
        kinds.drop[name] = "its values are all different, or nearly"
    elif found.determines.get(name, 0.0) >= LEAK:
        kinds.drop[name] = f"it determines {found.target}, or nearly; keep it if it is known before"
    elif each.column.kind == "Image":
        if not each.column.shape:
            kinds.images.append(name)
    elif each.column.kind == "Time":
        parts = _parts(each)
        kinds.dates.setdefault(parts, []).append(name)
        made = [f"{name}_{part}" for part in parts]
        kinds.scale += made
        if each.missing:
            kinds.impute += made
    elif each.column.width > 1:
        # They stay as they are: impute and scale take one number a row.
        if each.missing:
            kinds.drop[name] = "some of its vectors are missing, and no step fills them in"
    elif each.column.kind == "Number" and not are_codes(each):
        if each.numbers is not None and each.numbers.infinite:
            kinds.clip.append(each)
        (kinds.indicate if each.missing else kinds.impute).append(name)
        kinds.scale.append(name)
    elif is_free_text(each):
        kinds.text.append(name)
    elif each.distinct is None or each.distinct > HASHED:
        kinds.hashed.append(name)
    else:
        (kinds.many if each.distinct > MANY else kinds.few).append(name)


def _parts(each: ColumnSummary) -> tuple[str, ...]:
    assert each.times is not None, "it has values"
    first, last = each.times.first, each.times.last
    year = () if first[:4] == last[:4] else ("Year",)
    return (*year, "Month", "Weekday", *(() if each.times.days_only else ("Hour",)))


def _steps(kinds: _Kinds, target: ColumnSummary) -> Iterator[dict[str, Any]]:
    if kinds.drop:
        yield {"drop": {"columns": list(kinds.drop)}}
    if target.missing:
        yield {"dropRows": {"columns": [target.name]}}
    for parts, columns in kinds.dates.items():
        yield {"dates": {"columns": columns, "parts": list(parts)}}
    for each in kinds.clip:
        assert each.numbers is not None, "it has infinite ones"
        bounds = {"min": each.numbers.least, "max": each.numbers.largest}
        yield {"clip": {"columns": [each.name], **bounds}}
    if kinds.indicate:
        yield {"impute": {"columns": kinds.indicate, "strategy": "Median", "indicator": True}}
    if kinds.impute:
        yield {"impute": {"columns": kinds.impute, "strategy": "Median"}}
    if kinds.scale:
        yield {"scale": {"columns": kinds.scale, "method": "Standard"}}
    if kinds.few:
        yield {"encode": {"columns": kinds.few, "method": "OneHot", "unseen": "Ignore"}}
    if kinds.many:
        joined = {"top": MANY, "rare": "Join", "unseen": "Other"}
        yield {"encode": {"columns": kinds.many, "method": "OneHot", **joined}}
    if kinds.hashed:
        yield {"encode": {"columns": kinds.hashed, "method": "Hash", "buckets": _BUCKETS}}
    if kinds.text:
        yield {"bagOfWords": {"columns": kinds.text, "top": _WORDS, "weights": "TfIdf"}}
    if target.column.kind == "Time":
        yield {"cast": {"columns": [target.name], "type": "Number"}}
    elif are_classes(target):
        yield {"encode": {"columns": [target.name], "method": "Classes"}}
    for name in kinds.images:
        yield {"image": {"column": name, "resize": [_SIDE, _SIDE]}}


def _split(found: Inspection, target: ColumnSummary) -> tuple[dict[str, Any] | None, str | None]:
    """The split, and the column that only tells its parts apart."""
    for each in found.columns:
        if each.name == _SET and each.column.kind == "Text" and each.name != target.name:
            held = [word for word, _ in each.top(8) if word in _HELD]
            if held and each.distinct == 2:
                return {"column": _SET, "values": held}, _SET
    counts = target.counts
    if are_classes(target) and counts is not None and not counts.too_many:
        smallest = int(np.min(counts.rows, initial=0 if not len(counts.rows) else counts.rows[0]))
        if len(counts.rows) <= _STRATIFIED and smallest >= _LEAST_OF_CLASS:
            return {"by": "Stratified", "column": target.name}, None
    return None, None
