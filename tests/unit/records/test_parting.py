"""What is said of two jobs that part."""

from typing import Any

import pytest
from helpers.scripted import first_commit

from sapflow.records.commits import Applied, Commit, Cursor, Measured, Plan
from sapflow.records.digests import Digests
from sapflow.records.parting import Step, reasons, same_bits


def commit(*params: str | None, **fields: Any) -> Commit:
    return first_commit().model_copy(update={"sha256": Digests(params=list(params)), **fields})


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (commit("a"), commit("a"), True),
        (commit("a"), commit("b"), False),
        (commit(None), commit(None), None),
        (commit("a"), first_commit(), None),
        (commit("a"), commit("a", params=[]), None),
    ],
)
def test_bits_are_the_same_differ_or_are_not_known(one: Commit, other: Commit, expected: bool | None) -> None:
    assert same_bits(one, other) is expected


def step(plan: tuple[int, ...] = (1, 4), before: Cursor | None = None, **fields: Any) -> Step:
    return Step(commit("a", **fields), commit("x", cursor=before or Cursor()), Plan(structure=plan, shards=1))


@pytest.mark.parametrize(
    ("one", "other", "kind", "words"),
    [
        (step(), step((1, 2, 4)), "plan", "merged by [1, 4] and by [1, 2, 4]"),
        (step(), step(before=Cursor(used=32)), "cursor", "sample 0 of epoch 0 and at sample 32 of epoch 0"),
        (
            step(applied=[Applied(rank=1, count=0, base=0)]),
            step(applied=[Applied(rank=2, count=0, base=0)]),
            "order",
            "rank 1's contribution 0 on version 0 and rank 2's",
        ),
        (step(skipped=True), step(), "skipped", "the step of the first was not finite"),
        (step(), step(skipped=True), "skipped", "the step of the second was not finite"),
        (
            step(measured=Measured(cpus=["x86_64 avx2"])),
            step(measured=Measured(cpus=["x86_64 avx512f"])),
            "cpu",
            "computed on x86_64 avx2 and on x86_64 avx512f",
        ),
        (
            step(measured=Measured(libraries={"numpy": ["2.0"], "torch": ["2.5"]})),
            step(measured=Measured(libraries={"numpy": ["2.0"], "torch": ["2.6"]})),
            "libraries",
            "computed by torch 2.5 and by torch 2.6",
        ),
        (
            step(measured=Measured(images={"worker": "w:1"})),
            step(),
            "image",
            "computed by w:1 and by the Sapflow of a local run",
        ),
    ],
)
def test_what_differs_between_two_steps_is_named(one: Step, other: Step, kind: str, words: str) -> None:
    (found,) = reasons(one, other)
    assert found.kind == kind
    assert words in found.words


def test_steps_that_differ_in_nothing_have_no_reason() -> None:
    assert reasons(step(), step()) == []
