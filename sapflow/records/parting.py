"""Where two jobs part: the first version whose bits differ, and what of their steps to it differs. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sapflow.records.commits import Commit, Plan
from sapflow.records.computed_by import differing_libraries

Kind = Literal[
    "spec",
    "data",
    "code",
    "weights",
    "numerics",
    "origin",
    "plan",
    "order",
    "cursor",
    "skipped",
    "cpu",
    "libraries",
    "image",
    "bits",
]


@dataclass(frozen=True, slots=True)
class Reason:
    """What differs, and how, in words."""

    kind: Kind
    words: str


@dataclass(frozen=True, slots=True)
class Step:
    """One job's step to a version: its commit, the one before if the job made it, and the plan that it was made by."""

    commit: Commit
    before: Commit | None
    plan: Plan | None


def same_bits(one: Commit, other: Commit) -> bool | None:
    """Whether two versions have the same parameters and optimiser state; None if their commits do not tell.

    Those of earlier releases do not, nor those whose vectors are cut into other shards.
    """
    if one.sha256 is None or other.sha256 is None:
        return None
    found = [*one.sha256.params, *one.sha256.optimizer]
    others = [*other.sha256.params, *other.sha256.optimizer]
    if _cuts(one) != _cuts(other) or None in (*found, *others):
        return None
    return found == others


def beginnings(one: Commit, other: Commit) -> list[Reason]:
    """What differs between commits 0: what whole jobs follow from beside their specs."""
    found = []
    if one.numerics != other.numerics:
        found.append(Reason("numerics", f"numerics {one.numerics} and {other.numerics}"))
    if None not in (one.data, other.data) and one.data != other.data:
        found.append(Reason("data", "their data, as it was cut, differs"))
    if one.weights != other.weights:
        found.append(Reason("weights", "they began with other files of weights"))
    if (one.code or {}) != (other.code or {}):
        names = _differing(one.code or {}, other.code or {})
        found.append(Reason("code", f"the modules {', '.join(names)} differ"))
    if one.origin != other.origin:
        found.append(Reason("origin", f"one began {_began(one)}, the other {_began(other)}"))
    return found


def reasons(one: Step, other: Step) -> list[Reason]:
    """What differs between the steps to a version at which two jobs part, as far as commits and plans tell."""
    found, (mine, yours) = [], (one.commit, other.commit)
    if one.plan is not None and other.plan is not None and _tree(one.plan) != _tree(other.plan):
        found.append(Reason("plan", f"merged by {_in_words(one.plan)} and by {_in_words(other.plan)}"))
    if one.before is not None and other.before is not None and one.before.cursor != other.before.cursor:
        found.append(
            Reason("cursor", f"they stood at {_place(one.before)} and at {_place(other.before)} of the data")
        )
    if mine.applied != yours.applied:
        found.append(Reason("order", f"applied {_applied(mine)} and {_applied(yours)}"))
    if mine.skipped != yours.skipped:
        which = "first" if mine.skipped else "second"
        found.append(Reason("skipped", f"the step of the {which} was not finite and was left out"))
    if mine.measured.learning_rate != yours.measured.learning_rate:
        rates = (
            f"{mine.measured.learning_rate:g} and {yours.measured.learning_rate:g}"
            if (mine.measured.learning_rate is not None and yours.measured.learning_rate is not None)
            else f"{mine.measured.learning_rate} and {yours.measured.learning_rate}"
        )
        found.append(Reason("spec", f"the learning rates of the step were {rates}"))
    if mine.measured.cpus != yours.measured.cpus:
        found.append(
            Reason("cpu", f"computed on {_list(mine.measured.cpus)} and on {_list(yours.measured.cpus)}")
        )
    for name, ours, theirs in differing_libraries(mine.measured, yours.measured):
        found.append(Reason("libraries", f"computed by {name} {ours} and by {name} {theirs}"))
    if mine.measured.images != yours.measured.images:
        found.append(Reason("image", f"computed by {_images(mine)} and by {_images(yours)}"))
    return found


def _cuts(commit: Commit) -> list[tuple[int, int]]:
    return [(part.start, part.stop) for part in (*commit.params, *commit.optimizer)]


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]


def _began(first: Commit) -> str:
    return (
        "from its seed"
        if first.origin is None
        else f"at version {first.origin.version} of {first.origin.job}"
    )


def _tree(plan: Plan) -> tuple[object, ...]:
    """What of a plan bits follow from: who sums, and how contributions travel, changes none."""
    return plan.structure


def _in_words(plan: Plan) -> str:
    return str(list(plan.structure))


def _place(commit: Commit) -> str:
    return f"sample {commit.cursor.used:,} of epoch {commit.cursor.epoch}"


def _applied(commit: Commit) -> str:
    shown: Sequence[str] = [
        f"rank {one.rank}'s contribution {one.count} on version {one.base}" for one in commit.applied
    ]
    return ", ".join(shown[:4]) + (f" and {len(shown) - 4} more" if len(shown) > 4 else "") or "none"


def _list(names: Sequence[str] | None) -> str:
    return ", ".join(names) if names else "a CPU that was not recorded"


def _images(commit: Commit) -> str:
    return ", ".join(sorted({*(commit.measured.images or {}).values()})) or "the Sapflow of a local run"
