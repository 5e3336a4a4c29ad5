"""Answers of functions, checked where they arrive."""

from typing import Any

import pytest

from sapflow.errors import InvocationError
from sapflow.messages import replies
from sapflow.messages.replies import EvaluateReply, FunctionReply, MergeReply, RootReply, TrainReply


@pytest.mark.parametrize(
    ("kind", "body", "field"),
    [
        (TrainReply, {}, "done"),
        (TrainReply, {"done": True, "losses": {"loss": "much"}}, "losses.loss"),
        (MergeReply, {"done": True, "samples": None}, "samples"),
        (RootReply, {"done": True, "outcomes": ["perhaps"]}, "outcomes.0"),
        (RootReply, {"done": True, "weather": "fine"}, "weather"),
        (EvaluateReply, {"done": True, "position": 3, "sums": {}}, "samples"),
    ],
)
def test_an_answer_that_does_not_fit_is_an_invocation_error_that_names_the_field(
    kind: type[FunctionReply], body: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvocationError, match=rf"train version 3: .*does not fit: {field}: ") as caught:
        replies.read(body, kind, "train version 3")
    assert caught.value.reason == "InvalidReply"
    assert not caught.value.retryable


def test_what_a_function_answers_is_what_its_caller_reads() -> None:
    said = TrainReply(done=True, samples=3, losses={"loss": None}, seconds={"read": 0.5})
    read = replies.read(said.body(), TrainReply, "train")
    assert read.samples == 3
    # A sum that is not finite travels as nothing at all.
    assert "loss" not in read.losses or read.losses["loss"] is None


@pytest.mark.parametrize(
    ("reply", "progress"),
    [
        (TrainReply(done=False, cursor="c"), {"cursor": "c"}),
        (
            EvaluateReply(done=False, position=7, samples=9, sums={"loss": "0x0p+0"}),
            {"position": 7, "sums": {"loss": "0x0p+0"}},
        ),
    ],
)
def test_work_that_is_not_done_says_how_the_next_request_goes_on(
    reply: FunctionReply, progress: dict[str, Any]
) -> None:
    assert reply.progress() == progress
