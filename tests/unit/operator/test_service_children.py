"""What the children of a ModelService look like."""

import json
from dataclasses import replace
from typing import Any

import pytest
from helpers.manifests import variables_of
from helpers.services import LATER, MODEL, SETTINGS, service, wanted

from sapflow.spec.serving.served import ServedDocument
from sapflow_operator import names
from sapflow_operator.api.cluster import KINDS
from sapflow_operator.chosen_model import ChosenModel
from sapflow_operator.resources import serving_config_map, serving_policy, serving_service, token_secret
from sapflow_operator.service_wanted import ServiceWanted
from sapflow_operator.store.policy import reading_policy


def built(of: ServiceWanted, *shares: tuple[str, int]) -> dict[str, Any]:
    return serving_service.build(of, shares or [(of.revision, 100)])


def container(of: ServiceWanted) -> dict[str, Any]:
    return dict(built(of)["spec"]["template"]["spec"]["containers"][0])


def asked(model: ChosenModel = MODEL, **spec: Any) -> ServiceWanted:
    return wanted(service(**spec), model)


def test_traffic_names_revisions_and_never_the_latest() -> None:
    of = asked()
    for shares in ([(of.revision, 100)], [("late-serve-1", 90), (of.revision, 10)]):
        traffic = built(of, *shares)["spec"]["traffic"]
        assert [(each["revisionName"], each["percent"]) for each in traffic] == shares
        assert not any(each["latestRevision"] for each in traffic)
    assert built(of)["spec"]["template"]["metadata"]["name"] == of.revision


def test_a_revision_starts_with_a_pod_and_goes_to_zero() -> None:
    notes = built(asked(scale={"min": 0, "max": 7, "concurrency": 4}))["spec"]["template"]["metadata"][
        "annotations"
    ]
    scaling = {name.partition("/")[2]: value for name, value in notes.items() if "autoscaling" in name}
    assert scaling == {"initial-scale": "1", "min-scale": "0", "max-scale": "7", "window": "60s"}
    assert built(asked(scale={"concurrency": 4}))["spec"]["template"]["spec"]["containerConcurrency"] == 4


def test_pods_are_restricted_and_their_root_is_read_only() -> None:
    spec = built(asked())["spec"]["template"]["spec"]
    security = spec["containers"][0]["securityContext"]
    assert security["readOnlyRootFilesystem"]
    assert security["runAsNonRoot"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert spec["automountServiceAccountToken"] is False


def test_the_probe_asks_whether_the_golden_rows_were_answered() -> None:
    probe = container(asked())["readinessProbe"]
    assert probe["httpGet"]["path"] == "/v2/health/ready"
    assert "periodSeconds" not in probe


def test_models_without_torch_have_the_servers_image_and_others_the_workers_or_the_users() -> None:
    assert container(asked())["image"] == SETTINGS.server_image.name
    assert container(asked(replace(MODEL, torch=True)))["image"] == SETTINGS.worker_image.name
    own = replace(MODEL, torch=True, entrypoint="own:build", image="team/own:3")
    assert container(asked(own))["image"] == "team/own:3"
    assert json.loads(asked(own).document)["entrypoints"] == ["own:build"]


def test_memory_and_cpu_are_the_specs_or_what_the_model_needs() -> None:
    assert container(asked())["resources"]["limits"] == {"cpu": "1", "memory": "256Mi"}
    assert container(asked(replace(MODEL, torch=True)))["resources"]["limits"]["memory"] == "1Gi"
    edge = container(asked(resources={"memory": "128Mi", "cpu": "100m"}))["resources"]
    assert edge == {
        "limits": {"cpu": "100m", "memory": "128Mi"},
        "requests": {"cpu": "10m", "memory": "128Mi"},
    }


def test_the_process_reads_the_document_of_its_revision() -> None:
    of = asked(decision={"thresholds": {"late": 0.3}}, limits={"rows": 7})
    config = serving_config_map.build(of, [], None, comparing=False)
    document = ServedDocument.model_validate(json.loads(config["data"][names.served_key(of.revision)]))
    assert (document.name, document.version, document.key) == ("late", of.revision, MODEL.key)
    assert document.sha256 == MODEL.sha256
    assert document.decision is not None
    volume = next(
        each for each in built(of)["spec"]["template"]["spec"]["volumes"] if each["name"] == "service"
    )
    assert volume["configMap"]["items"][0]["key"] == names.served_key(of.revision)
    assert variables_of(container(of))["SAPFLOW_SERVICE_FILE"] == "/etc/sapflow/service/service.json"


def test_documents_of_revisions_that_may_start_stay_and_others_go() -> None:
    of = asked()
    standing = {"data": {"late-serve-1.json": "{1}", "late-serve-0.json": "{0}"}}
    config = serving_config_map.build(of, ["late-serve-1", of.revision], standing, comparing=True)
    assert set(config["data"]) == {"late-serve-1.json", names.served_key(of.revision), names.COMPARE_KEY}


@pytest.mark.parametrize(
    "change",
    [
        {"decision": {"answer": "Probabilities"}},
        {"scale": {"max": 3}},
        {"resources": {"memory": "512Mi"}},
        {"limits": {"rows": 1}},
        {"auth": {"mode": "None"}},
    ],
)
def test_what_pods_are_made_of_is_in_the_revisions_name(change: dict[str, Any]) -> None:
    assert asked(**change).revision != asked().revision
    assert asked(**change).revision == asked(**change).revision


def test_another_model_is_another_revision_and_another_canary_is_not() -> None:
    assert asked(LATER).revision != asked().revision
    assert asked(canary={"percent": 5}).revision == asked().revision


def test_names_fit_where_a_services_name_is_as_long_as_it_may_be() -> None:
    of = replace(asked(), name="n" * 40)
    of = serving_service.named(of)
    assert len(f"{of.revision}-private") <= 63
    assert len(f"stable-{of.pool}") <= 63


def test_a_token_is_asked_for_unless_the_spec_says_none() -> None:
    of = asked()
    assert of.own_token
    assert token_secret.build(of, "t")["metadata"]["name"] == "late-serve-token"
    assert variables_of(container(of))["SAPFLOW_TOKEN_FILE"] == "/etc/sapflow/token/token"
    own = asked(auth={"mode": "Bearer", "secretName": "mine"})
    assert (own.asks_token, own.own_token, own.token_secret) == (True, False, "mine")
    none = asked(auth={"mode": "None"})
    assert "SAPFLOW_TOKEN_FILE" not in variables_of(container(none))
    assert json.loads(none.document)["asksToken"] is False


def test_versions_are_compared_at_the_tag_of_the_one_that_serves() -> None:
    of = asked(canary={"minAgreement": 0.9})
    traffic = built(of, ("late-serve-1", 90), (of.revision, 10))["spec"]["traffic"]
    assert [each.get("tag") for each in traffic] == ["stable", None]
    assert of.compare_url == "http://stable-late-serve.team.svc.cluster.local"
    for comparing, url in ((True, of.compare_url), (False, "")):
        data = serving_config_map.build(of, [], None, comparing=comparing)["data"]
        assert data[names.COMPARE_KEY] == url
    assert not any(
        "tag" in each for each in built(asked(), ("late-serve-1", 90), ("b", 10))["spec"]["traffic"]
    )


def test_where_traffic_alone_changes_the_template_stays_as_knative_has_completed_it() -> None:
    of = asked()
    standing = built(of)
    standing["spec"]["template"]["metadata"]["creationTimestamp"] = None
    standing["spec"]["template"]["spec"]["containers"][0]["name"] = "user-container"
    shifted = serving_service.as_standing(built(of, ("late-serve-1", 90), (of.revision, 10)), standing)
    (kept,) = shifted["spec"]["template"]["spec"]["containers"]
    assert kept == container(of) | {"name": "user-container"}
    assert "creationTimestamp" not in shifted["spec"]["template"]["metadata"]
    assert [each["percent"] for each in shifted["spec"]["traffic"]] == [90, 10]
    later = built(asked(LATER))
    assert serving_service.as_standing(later, standing) == later


def test_requests_by_grpc_have_the_port_of_knative_and_metrics_have_another() -> None:
    of = asked(protocol="Grpc")
    made, template = container(of), built(of)["spec"]["template"]
    assert made["ports"] == [{"name": "h2c", "containerPort": 8080}]
    assert made["readinessProbe"] == {"grpc": {"port": 8080}, "successThreshold": 1}
    told = variables_of(made)
    assert (told["SAPFLOW_GRPC_PORT"], told["SAPFLOW_HTTP_PORT"]) == ("8080", "8081")
    assert template["metadata"]["annotations"]["prometheus.io/port"] == "8081"
    _, metrics = serving_policy.build(of)["spec"]["ingress"]
    assert metrics["ports"] == [{"port": 8081, "protocol": "TCP"}]
    assert of.revision != asked().revision
    assert asked(protocol="Rest").revision == asked().revision


def test_pods_are_asked_by_knative_and_for_metrics_and_ask_the_store_alone() -> None:
    policy = serving_policy.build(asked())["spec"]
    assert policy["podSelector"]["matchLabels"]["sapflow.dev/role"] == "server"
    callers, metrics = policy["ingress"]
    assert "knative-serving" in callers["from"][0]["namespaceSelector"]["matchExpressions"][0]["values"]
    assert metrics["ports"] == [{"port": 8080, "protocol": "TCP"}]
    dns, store = policy["egress"]
    assert dns["ports"][0]["port"] == 53
    assert store["to"][0]["namespaceSelector"]["matchExpressions"][0]["values"] == ["team"]
    assert len(serving_policy.build(asked(canary={"minAgreement": 0.9}))["spec"]["egress"]) == 3


def test_every_child_is_of_a_kind_that_the_operator_may_write_and_owned_by_the_service() -> None:
    of = asked()
    for child in (
        built(of),
        serving_policy.build(of),
        serving_config_map.build(of, [], None, comparing=False),
        token_secret.build(of, "t"),
    ):
        assert child["kind"] in KINDS
        assert child["metadata"]["ownerReferences"][0]["kind"] == "ModelService"
        assert child["metadata"]["labels"]["sapflow.dev/kind"] == "ModelService"


def test_credentials_read_the_models_folder_and_write_nothing() -> None:
    policy = reading_policy("sapflow", MODEL.readable)
    actions = {each for statement in policy["Statement"] for each in statement["Action"]}
    assert actions == {"s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation"}
    assert policy["Statement"][0]["Resource"] == ["arn:aws:s3:::sapflow/jobs/j1/result/*"]
    assert policy["Statement"][1]["Condition"] == {"StringLike": {"s3:prefix": ["jobs/j1/result/*"]}}


def test_of_a_model_at_the_top_of_a_bucket_nothing_else_of_it_may_be_read() -> None:
    top = replace(MODEL, uri="s3://models/late.safetensors")
    assert not any("*" in key for key in top.readable)
    assert {"late.safetensors", "late.golden.safetensors", "golden.safetensors"} <= set(top.readable)


@pytest.mark.parametrize("key", ["jobs/*/result/*", "a?b/*", "/*"])
def test_a_key_that_could_name_others_gets_no_credentials(key: str) -> None:
    with pytest.raises(ValueError):
        reading_policy("sapflow", [key])
