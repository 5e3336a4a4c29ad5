"""Rules between `spec.data.prepare` and the rest of `spec.data`, and between its own fields but for the steps'."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from sapflow.spec.learning import DataSpec
from sapflow.spec.preparation.prepare import PrepareSpec, SplitSpec
from sapflow.spec.rule import Rule

if TYPE_CHECKING:
    from sapflow.spec.training_job import Runtime, Spec

_NO_FILES = r"^(sklearn|synthetic|generated|memory):"
_RAW_ALONE = ("jsonl", "images")
_DEFAULT = DataSpec.model_fields["validation_fraction"].default
_SPLIT = "prepare.split says what is held out"
_OPTIONS = {
    "target": "prepare.target names the target: leave options.target out",
    "group": f"{_SPLIT}, by: Group with a column: leave options.group out",
}


def prepare_problems(data: DataSpec, runtime: "Runtime | None") -> list[tuple[str, str]]:
    """(field path, what is wrong and what to do) of what the API server cannot tell: it knows nothing of the options of
    sources, and writes the fraction's default into every job."""
    if data.prepare is None:
        return []
    found = [
        (f"spec.data.options.{name}", message)
        for name, message in _OPTIONS.items()
        if data.options.get(name) is not None
    ]
    explicit = "validation_fraction" in data.model_fields_set and data.validation_fraction == _DEFAULT
    if explicit and runtime != "kubernetes":
        found.append(("spec.data.validationFraction", f"{_SPLIT}: leave validationFraction out"))
    return found


def _prepare(
    field: str, message: str, holds: Callable[[DataSpec, PrepareSpec], bool], cel: str
) -> Rule["Spec"]:
    """A rule that is about jobs with prepare only."""

    def held(spec: "Spec") -> bool:
        return spec.data.prepare is None or holds(spec.data, spec.data.prepare)

    return Rule(f"data.{field}", message, held, f"!has(self.data.prepare) || {cel}")


def _split(message: str, holds: Callable[[SplitSpec], bool], cel: str, field: str = "") -> Rule["Spec"]:
    """A rule that is about jobs with a split only; in `cel` the split is SPLIT."""
    return _prepare(
        "prepare.split" + (f".{field}" if field else ""),
        message,
        lambda _, prepare: prepare.split is None or holds(prepare.split),
        f"!has(self.data.prepare.split) || {cel.replace('SPLIT', 'self.data.prepare.split')}",
    )


def _chosen(split: SplitSpec) -> bool:
    return split.values is not None or split.numbers is not None


PREPARE_RULES: "tuple[Rule[Spec], ...]" = (
    Rule(
        "data.format",
        f"{' and '.join(_RAW_ALONE)} hold no samples as they are: say under prepare how they are made",
        lambda spec: spec.data.format not in _RAW_ALONE or spec.data.prepare is not None,
        f"!has(self.data.format) || !(self.data.format in {list(_RAW_ALONE)}) || has(self.data.prepare)",
    ),
    _prepare(
        "prepare",
        "is for files: name s3://bucket/prefix or a path as the source; sets that are made, come with scikit-learn or "
        "from Python hold samples already",
        lambda data, _: re.match(_NO_FILES, data.source) is None,
        f"!self.data.source.matches(r'{_NO_FILES}')",
    ),
    _prepare(
        "normalize",
        "is done by steps where there is prepare: leave normalize out, and add a step scale",
        lambda data, _: data.normalize in ("Auto", "None"),
        "self.data.normalize in ['Auto', 'None']",
    ),
    _prepare(
        "validationFraction",
        f"must be left out: {_SPLIT}",
        lambda data, _: data.validation_fraction == _DEFAULT,
        f"self.data.validationFraction == {_DEFAULT}",
    ),
    _prepare(
        "split",
        f"must be left out: {_SPLIT}; Stratified is prepare.split.by",
        lambda data, _: data.split is None,
        "!has(self.data.split)",
    ),
    _prepare(
        "validation",
        f"must be left out: {_SPLIT}; to hold out files, give their rows a value in a column and name that there",
        lambda data, _: data.validation is None,
        "!has(self.data.validation)",
    ),
    _prepare(
        "prepare.maxBadShare",
        "says what maxBadRows says as a part of all rows: give one of the two",
        lambda _, prepare: prepare.max_bad_share is None or prepare.max_bad_rows is None,
        "!has(self.data.prepare.maxBadShare) || !has(self.data.prepare.maxBadRows)",
    ),
    _split(
        "holds out a fraction, or the rows with certain values or numbers: give one of fraction, values and numbers",
        lambda split: (
            sum(each is not None for each in (split.fraction, split.values, split.numbers)) <= 1
            and not (_chosen(split) and split.by is not None)
        ),
        "(!has(SPLIT.values) && !has(SPLIT.numbers) || !has(SPLIT.fraction) && !has(SPLIT.by)) && "
        "(!has(SPLIT.values) || !has(SPLIT.numbers))",
    ),
    _split(
        "is needed by values, numbers and by: Group",
        lambda split: split.column is not None or not (_chosen(split) or split.by == "Group"),
        "has(SPLIT.column) || "
        "!has(SPLIT.values) && !has(SPLIT.numbers) && (!has(SPLIT.by) || SPLIT.by != 'Group')",
        "column",
    ),
    _split(
        "is for values, numbers and by: Stratified or Group: leave it out where rows are drawn each by itself",
        lambda split: split.column is None or _chosen(split) or split.by in ("Stratified", "Group"),
        "!has(SPLIT.column) || has(SPLIT.values) || has(SPLIT.numbers) || "
        "has(SPLIT.by) && SPLIT.by in ['Stratified', 'Group']",
        "column",
    ),
)
