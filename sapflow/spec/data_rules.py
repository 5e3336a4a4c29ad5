"""Rules for how samples are held out: a fraction of the source, whole groups of it, or a source of their own."""

import re
from typing import TYPE_CHECKING

from sapflow.spec.learning import DataSpec
from sapflow.spec.rule import Rule
from sapflow.spec.sources import JOBS_SOURCE, S3_SOURCE

if TYPE_CHECKING:
    from sapflow.spec.training_job import Runtime, Spec

_MADE = r"^(sklearn|synthetic|generated):"
_DEFAULT = DataSpec.model_fields["validation_fraction"].default
_WITHOUT = (
    "names the samples to evaluate on, so none are held out of the source: leave validationFraction out"
)


def option_problems(data: DataSpec, runtime: "Runtime | None") -> list[tuple[str, str]]:
    """(field path, what is wrong and what to do) of what the API server cannot tell.

    It knows nothing of the options of sources, and writes the fraction's default into every job.
    """
    found = []
    validation = data.validation
    explicit = "validation_fraction" in data.model_fields_set and data.validation_fraction == _DEFAULT
    if validation is not None and explicit and runtime != "kubernetes":
        found.append(("spec.data.validation", _WITHOUT))
    if data.options.get("group") is None:
        return found
    if validation is not None:
        message = (
            "says what is held out together, and data.validation names the samples instead: leave one out"
        )
        found.append(("spec.data.options.group", message))
    if data.split == "Stratified":
        message = (
            "holds out whole groups, whose classes are as they are, and split: Stratified draws samples by their "
            "class: leave one out"
        )
        found.append(("spec.data.options.group", message))
    return found


DATA_RULES: tuple[Rule["Spec"], ...] = (
    Rule(
        "data.validation",
        _WITHOUT,
        lambda spec: spec.data.validation is None or spec.data.validation_fraction in (0.0, _DEFAULT),
        f"!has(self.data.validation) || self.data.validationFraction in [0.0, {_DEFAULT}]",
    ),
    Rule(
        "data.split",
        "says how samples are held out, and data.validation names them instead: leave one of the two out",
        lambda spec: spec.data.validation is None or spec.data.split is None,
        "!has(self.data.validation) || !has(self.data.split)",
    ),
    Rule(
        "data.split",
        "says how samples are held out, and validationFraction 0 holds none out: leave split out, or raise it",
        lambda spec: spec.data.split is None or spec.data.validation_fraction > 0,
        "!has(self.data.split) || self.data.validationFraction > 0.0",
    ),
    Rule(
        "data.validation.source",
        "must be s3://bucket/prefix or a path: sets that are made, or come with scikit-learn, have no second part; "
        "leave validation out, and a fraction is held out",
        lambda spec: spec.data.validation is None or re.match(_MADE, spec.data.validation.source) is None,
        f"!has(self.data.validation) || !self.data.validation.source.matches(r'{_MADE}')",
    ),
    Rule(
        "data.validation.source",
        "must be s3://bucket/prefix, of letters, digits and !_.=+,@- between single slashes, and not below jobs/ "
        "or an area of shared/: functions in a cluster see no path of yours, and no other job's objects",
        lambda spec: (
            spec.data.validation is None
            or (
                re.fullmatch(S3_SOURCE, spec.data.validation.source) is not None
                and re.match(JOBS_SOURCE, spec.data.validation.source) is None
            )
        ),
        f"!has(self.data.validation) || (self.data.validation.source.matches(r'{S3_SOURCE}') && "
        f"!self.data.validation.source.matches(r'{JOBS_SOURCE}'))",
        "kubernetes",
    ),
)
