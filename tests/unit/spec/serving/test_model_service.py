"""ModelServices and spec.serve: what is accepted, and what is refused with which words."""

from typing import Any

import pytest

from sapflow.client.session import uid_of
from sapflow.errors import SpecError
from sapflow.spec import document, tuning_document
from sapflow.spec.resolved import ResolvedJob
from sapflow.spec.service_document import load, parse

JOB: dict[str, Any] = {
    "apiVersion": "sapflow.dev/v1alpha1",
    "kind": "TrainingJob",
    "metadata": {"name": "late"},
    "spec": {"model": {"name": "mlp"}, "data": {"source": "sklearn:digits"}, "workers": 2},
}


def service(**fields: Any) -> dict[str, Any]:
    spec = {"model": {"job": "late"}, **fields}
    return {
        "apiVersion": "sapflow.dev/v1alpha1",
        "kind": "ModelService",
        "metadata": {"name": "late"},
        "spec": spec,
    }


def problems(found: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        parse(found)
    return dict(caught.value.problems)


def test_a_service_is_read_back_as_it_was_written() -> None:
    text = """
apiVersion: sapflow.dev/v1alpha1
kind: ModelService
metadata: {name: late}
spec:
  model: {tuning: search}
  scale: {min: 1, max: 4, concurrency: 8}
  decision:
    thresholds: {late: 0.3}
    abstain: {below: 0.6, label: unsure}
    message: "{row.carrier} is {label} ({probability:.0%})"
    messages: {late: "late by all means"}
  canary: {percent: 5, minAgreement: 0.9}
  auth: {mode: None}
"""
    found = load(text)
    assert parse(found.to_json()) == found
    assert found.spec.scale is not None
    assert found.spec.scale.concurrency == 8


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"model": {}}, "spec.model", "one of job, tuning and uri"),
        ({"model": {"job": "a", "tuning": "b"}}, "spec.model", "one of job, tuning and uri"),
        ({"model": {"uri": "s3://bucket/model.safetensors"}}, "spec.model.sha256", "uri needs it"),
        ({"model": {"uri": "bucket/model", "sha256": "0" * 64}}, "spec.model.uri", "must be s3://bucket"),
        ({"model": {"job": "a", "entrypoint": "own:build"}}, "spec.model.entrypoint", "goes with uri"),
        ({"model": {"job": "a", "image": "own"}}, "spec.model.image", "goes with entrypoint"),
        ({"scale": {"min": 3, "max": 2}}, "spec.scale.min", "at most scale.max"),
        ({"auth": {"mode": "None", "secretName": "a"}}, "spec.auth.secretName", "goes with mode Bearer"),
        (
            {"protocol": "Grpc", "canary": {"minAgreement": 0.9}},
            "spec.canary.minAgreement",
            "which protocol Grpc has not",
        ),
        ({"protocol": "GRPC"}, "spec.protocol", "Rest"),
        ({"decision": {"topK": 3}}, "spec.decision.topK", "answer: TopK"),
        ({"decision": {"costs": [[0, 1], [1, 0]], "thresholds": {"a": 1}}}, "spec.decision.costs", "one of"),
        ({"decision": {"costs": [[0, 1], [1, 0, 2]]}}, "spec.decision.costs", "square"),
        ({"decision": {"abstain": {"cost": 1}}}, "spec.decision.abstain.cost", "needs costs"),
        ({"decision": {"abstain": {}}}, "spec.decision.abstain", "never abstains"),
        ({"decision": {"answer": "Label", "boxes": {"classes": ["cat"]}}}, "spec.decision.boxes", "minScore"),
        ({"decision": {"message": "{label!r}"}}, "spec.decision.message", "{row.NAME} and no other braces"),
        ({"decision": {"message": "{row.__class__.x}{0}"}}, "spec.decision.message", "no other braces"),
    ],
)
def test_a_service_that_makes_no_sense_is_refused_with_field_and_remedy(
    fields: dict[str, Any], field: str, words: str
) -> None:
    assert words in problems(service(**fields))[field]


def test_a_job_that_serves_keeps_its_name_in_the_store_and_its_document() -> None:
    with_serve = {**JOB, "spec": {**JOB["spec"], "serve": {"decision": {"answer": "Probabilities"}}}}
    plain, serving = document.parse(JOB), document.parse(with_serve)
    assert uid_of(plain) == uid_of(serving)
    assert ResolvedJob(plain, "jobs/a").to_json() == ResolvedJob(serving, "jobs/a").to_json()


def test_rules_hold_below_serve_as_well() -> None:
    wrong = {**JOB, "spec": {**JOB["spec"], "serve": {"decision": {"topK": 2}}}}
    with pytest.raises(SpecError, match=r"spec\.serve\.decision\.topK"):
        document.parse(wrong)


def test_a_local_run_refuses_what_only_a_cluster_scales() -> None:
    scaled = {**JOB, "spec": {**JOB["spec"], "serve": {"scale": {"max": 2}}}}
    with pytest.raises(SpecError, match=r"spec\.serve\.scale"):
        document.parse(scaled)
    assert document.parse(scaled, "kubernetes").spec.serve is not None


def test_the_template_of_a_search_does_not_serve_its_trials() -> None:
    search = {
        "apiVersion": "sapflow.dev/v1alpha1",
        "kind": "TuningJob",
        "metadata": {"name": "late"},
        "spec": {
            "template": {"spec": {**JOB["spec"], "serve": {}}},
            "parameters": [{"path": "spec.optimizer.learningRate", "float": {"min": 0.1, "max": 1}}],
            "objective": {"metric": "loss", "direction": "Minimize"},
            "maxWorkers": 2,
            "maxTrials": 2,
        },
    }
    with pytest.raises(SpecError, match="the search's own serves the best one"):
        tuning_document.parse(search)
