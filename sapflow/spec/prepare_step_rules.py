"""Rules for each step of a preparation, once for the library and the API server."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sapflow.spec.preparation.step import STEP_KEYS, StepSpec
from sapflow.spec.rule import Rule, RuleRuntime
from sapflow.spec.sources import JOBS_SOURCE, S3_SOURCE

if TYPE_CHECKING:
    from sapflow.spec.training_job import Spec

_STEPS = "data.prepare.steps"


@dataclass(frozen=True, slots=True)
class _StepRule:
    """A rule about `field` of an item of the list; in `cel` the item is `s`."""

    field: str
    message: str
    holds: Callable[[StepSpec], bool]
    cel: str
    runtime: RuleRuntime = "both"

    def of_spec(self) -> Rule["Spec"]:
        """The rule about a job's spec."""

        def steps(spec: "Spec") -> list[StepSpec]:
            prepare = spec.data.prepare
            return [] if prepare is None else prepare.steps or []

        def items(spec: "Spec") -> list[tuple[str, str]]:
            below = f".{self.field}" if self.field else ""
            return [
                (f"{_STEPS}[{index}]{below}", self.message)
                for index, step in enumerate(steps(spec))
                if not self.holds(step)
            ]

        begin = f"{self.field} " if self.field else ""
        return Rule(
            _STEPS,
            f"{begin}{self.message}",
            lambda spec: all(map(self.holds, steps(spec))),
            f"!has(self.data.prepare) || !has(self.{_STEPS}) || self.{_STEPS}.all(s, {self.cel})",
            self.runtime,
            items,
        )


def _about(
    key: str,
    message: str,
    holds: Callable[[Any], bool],
    cel: str,
    field: str = "",
    runtime: RuleRuntime = "both",
) -> _StepRule:
    """A rule about the step `key`, which is the only argument of `holds`, and `s.KEY` in `cel`."""
    where = f"{key}.{field}" if field else key

    def held(item: StepSpec) -> bool:
        step = item.given.get(key)
        return step is None or holds(step)

    return _StepRule(where, message, held, f"!has(s.{key}) || ({cel})", runtime)


def _ascending(edges: list[float] | None) -> bool:
    return edges is None or edges == sorted(edges)


_EACH: tuple[_StepRule, ...] = (
    _StepRule(
        "",
        f"must have exactly one key in each item, one of {', '.join(STEP_KEYS)}",
        lambda item: len(item.given) == 1,
        "[" + ", ".join(f"has(s.{key})" for key in STEP_KEYS) + "].exists_one(given, given)",
    ),
    _about(
        "impute",
        "needs value or text for strategy Constant, or both for columns of both types, and takes neither otherwise",
        lambda step: (step.strategy == "Constant") == (step.value is not None or step.text is not None),
        "(s.impute.strategy == 'Constant') == (has(s.impute.value) || has(s.impute.text))",
    ),
    _about(
        "bin",
        "needs either quantiles or edges",
        lambda step: (step.quantiles is None) != (step.edges is None),
        "has(s.bin.quantiles) != has(s.bin.edges)",
    ),
    _about(
        "bin",
        "must be ascending",
        lambda step: _ascending(step.edges),
        "!has(s.bin.edges) || s.bin.edges.isSorted()",
        "edges",
    ),
    _about(
        "clip",
        "needs min or max, and min is at most max",
        lambda step: (
            (step.min is not None or step.max is not None)
            and (step.min is None or step.max is None or step.min <= step.max)
        ),
        "(has(s.clip.min) || has(s.clip.max)) && "
        "(!has(s.clip.min) || !has(s.clip.max) || s.clip.min <= s.clip.max)",
    ),
    _about(
        "encode",
        "goes with method Hash, and Hash needs it",
        lambda step: (step.buckets is not None) == (step.method == "Hash"),
        "has(s.encode.buckets) == (s.encode.method == 'Hash')",
        "buckets",
    ),
    _about(
        "encode",
        "learns no categories with method Hash: leave out top, minCount, rare and unseen",
        lambda step: (
            step.method != "Hash"
            or (step.top is None and step.min_count is None and step.rare is None and step.unseen is None)
        ),
        "s.encode.method != 'Hash' || "
        "!has(s.encode.top) && !has(s.encode.minCount) && !has(s.encode.rare) && !has(s.encode.unseen)",
    ),
    _about(
        "encode",
        "goes with top or minCount, which say what is rare",
        lambda step: step.rare is None or step.top is not None or step.min_count is not None,
        "!has(s.encode.rare) || has(s.encode.top) || has(s.encode.minCount)",
        "rare",
    ),
    _about(
        "encode",
        "Other needs rare categories to count to: give top or minCount",
        lambda step: step.unseen != "Other" or step.top is not None or step.min_count is not None,
        "!has(s.encode.unseen) || s.encode.unseen != 'Other' || has(s.encode.top) || has(s.encode.minCount)",
        "unseen",
    ),
    _about(
        "encode",
        "Ignore is for OneHot and Ordinal: a target's label that no training row has is no class; leave unseen out",
        lambda step: step.unseen != "Ignore" or step.method != "Classes",
        "!has(s.encode.unseen) || s.encode.unseen != 'Ignore' || s.encode.method != 'Classes'",
        "unseen",
    ),
    _about(
        "encode",
        "goes with method Ordinal and unseen: Ignore",
        lambda step: step.unseen_value is None or (step.method == "Ordinal" and step.unseen == "Ignore"),
        "!has(s.encode.unseenValue) || "
        "s.encode.method == 'Ordinal' && has(s.encode.unseen) && s.encode.unseen == 'Ignore'",
        "unseenValue",
    ),
    _about(
        "tokens",
        "needs either vocabulary or tokenizer",
        lambda step: (step.vocabulary is None) != (step.tokenizer is None),
        "has(s.tokens.vocabulary) != has(s.tokens.tokenizer)",
    ),
    _about(
        "tokens",
        "must be s3://bucket/key, of letters, digits and !_.=+,@- between single slashes, and not below jobs/ or an "
        "area of shared/: functions in a cluster see no path of yours, and no other job's objects; copy the file to "
        "a prefix of its own",
        lambda step: (
            step.tokenizer is None
            or (
                re.fullmatch(S3_SOURCE, step.tokenizer) is not None
                and re.match(JOBS_SOURCE, step.tokenizer) is None
            )
        ),
        f"!has(s.tokens.tokenizer) || s.tokens.tokenizer.matches(r'{S3_SOURCE}') && "
        f"!s.tokens.tokenizer.matches(r'{JOBS_SOURCE}')",
        "tokenizer",
        "kubernetes",
    ),
    _about(
        "bagOfWords",
        "needs either buckets or top",
        lambda step: (step.buckets is None) != (step.top is None),
        "has(s.bagOfWords.buckets) != has(s.bagOfWords.top)",
    ),
    _about(
        "image",
        "must be at most resize, of which it is cut",
        lambda step: (
            step.crop is None
            or step.resize is None
            or (step.crop[0] <= step.resize[0] and step.crop[1] <= step.resize[1])
        ),
        "!has(s.image.crop) || !has(s.image.resize) || "
        "s.image.crop[0] <= s.image.resize[0] && s.image.crop[1] <= s.image.resize[1]",
        "crop",
    ),
)

STEP_RULES: "tuple[Rule[Spec], ...]" = tuple(rule.of_spec() for rule in _EACH)
