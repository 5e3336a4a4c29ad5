"""What the children of a job look like."""

import json
from dataclasses import replace
from typing import Any

import pytest
from helpers.manifests import variables_of

from sapflow.objects.stores.credentials import Credentials
from sapflow.planning import placement
from sapflow.quantities.roles import Role
from sapflow.spec import resolved
from sapflow.spec.document import parse
from sapflow_operator import cells, names, resources
from sapflow_operator.api.cluster import KINDS, NODE_RULES, RULES
from sapflow_operator.kinds.training_pool import TrainingPool
from sapflow_operator.resources import (
    config_map,
    driver_job,
    knative_service,
    pool_secret,
    role,
)
from sapflow_operator.settings import Settings
from sapflow_operator.store.credentials import Issued
from sapflow_operator.wanted import Group, place_of

ENVIRONMENT = {
    "SAPFLOW_OPERATOR_IMAGE": "dev.local/operator:1",
    "SAPFLOW_WORKER_IMAGE": "dev.local/worker:1",
    "SAPFLOW_WORKER_PULL_POLICY": "Never",
    "SAPFLOW_MERGER_IMAGE": "dev.local/merger:1",
    "SAPFLOW_PREPARER_IMAGE": "dev.local/preparer:1",
    "SAPFLOW_SERVER_IMAGE": "dev.local/server:1",
    "SAPFLOW_S3_ENDPOINT": "http://minio:9000",
    "SAPFLOW_S3_BUCKET": "sapflow",
    "SAPFLOW_S3_ACCESS_KEY": "operator",
    "SAPFLOW_S3_SECRET_KEY": "secret",
    "SAPFLOW_WINDOW_SECONDS": "6",
}

ROLES: tuple[Role, ...] = ("worker", "merger")


def wanted(environment: dict[str, str] | None = None, **spec: Any) -> TrainingPool:
    base = {"model": {"name": "mlp"}, "data": {"source": "sklearn:digits"}, "workers": 22}
    document = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "digits"},
        "spec": base | spec,
    }
    settings = Settings.from_environment(ENVIRONMENT | (environment or {}))
    job = parse(document, "kubernetes")
    return TrainingPool("digits", "team", "u1", place_of(job.spec.storage, settings), settings, job)


def service_of(of: TrainingPool, role: Role, cell: int | None = None) -> dict[str, Any]:
    """The Knative Service of a role, in a cell."""
    (group,) = [each for each in of.groups if (each.role, each.cell) == (role, cell)]
    return knative_service.build(of, group)


def template(service: dict[str, Any]) -> dict[str, Any]:
    return dict(service["spec"]["template"])


def container(service: dict[str, Any]) -> dict[str, Any]:
    return dict(template(service)["spec"]["containers"][0])


def scaling(service: dict[str, Any]) -> dict[str, str]:
    notes = template(service)["metadata"]["annotations"]
    return {name.removeprefix("autoscaling.knative.dev/"): value for name, value in notes.items()}


def everything(of: TrainingPool) -> list[dict[str, Any]]:
    issued = Issued("shared", Credentials("a", "b"))
    return [
        *resources.foundations(of),
        *resources.functions(of),
        resources.driver(of),
        pool_secret.build(of, "token", issued),
    ]


def test_every_child_is_owned_by_the_job_labelled_and_of_a_kind_that_the_operator_knows() -> None:
    for child in everything(wanted()):
        (owner,) = child["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("TrainingJob", "u1", True)
        assert child["metadata"]["labels"][names.JOB_LABEL] == "digits"
        assert child["metadata"]["namespace"] == "team"
        assert child["kind"] in KINDS
        assert child["apiVersion"] == KINDS[child["kind"]].api_version


def test_the_operator_may_make_and_change_every_child_and_nothing_with_a_star() -> None:
    allowed = {
        (group, resource, verb)
        for rule in RULES
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    for child in everything(wanted()):
        group = child["apiVersion"].rpartition("/")[0]
        for verb in ("create", "patch"):
            assert (group, KINDS[child["kind"]].plural, verb) in allowed
    assert not [each for each in allowed if "*" in each]


def test_the_operator_holds_every_right_that_it_gives_to_a_driver() -> None:
    held = {
        (rule["apiGroups"][0], resource, verb)
        for rule in RULES
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    for rule in role.build(wanted())["rules"]:
        for resource in rule["resources"]:
            assert {(rule["apiGroups"][0], resource, verb) for verb in rule["verbs"]} <= held


def test_a_driver_may_report_and_read_its_own_jobs_status_and_nothing_else() -> None:
    (rule,) = role.build(wanted())["rules"]
    assert rule == {
        "apiGroups": ["sapflow.dev"],
        "resources": ["trainingjobs/status"],
        "resourceNames": ["digits"],
        "verbs": ["get", "patch"],
    }


def test_workers_scale_from_zero_to_their_number_one_call_each() -> None:
    service = service_of(wanted(), "worker")
    assert scaling(service) == {
        "initial-scale": "0",
        "min-scale": "0",
        "max-scale": "22",
        "target-burst-capacity": "-1",
        "target-utilization-percentage": "25",
        "window": "6s",
    }
    assert template(service)["spec"]["containerConcurrency"] == 1
    assert service["metadata"]["labels"]["networking.knative.dev/visibility"] == "cluster-local"


def test_only_workers_are_called_all_at_once_so_that_fewer_mergers_stay() -> None:
    assert scaling(service_of(wanted(), "merger"))["target-utilization-percentage"] == "100"


@pytest.mark.parametrize(
    ("merge", "most"),
    [
        ({"structure": [1, 5, 22], "shards": 1}, "5"),
        ({"structure": [1, 5, 22], "shards": 3}, "15"),
        ({"structure": [1, 22], "shards": 1}, "1"),
        ({"structure": [1, 5, 22], "shards": 1, "reuseWorkers": True}, "1"),
        ({"structure": [1, 5, 22]}, "32"),
        ({"shards": 8}, "88"),
        ({}, "32"),
    ],
)
def test_mergers_scale_to_what_their_widest_level_needs_or_a_planner_may_choose(
    merge: dict[str, Any], most: str
) -> None:
    assert scaling(service_of(wanted(merge=merge), "merger"))["max-scale"] == most


@pytest.mark.parametrize(
    ("invocation", "timeout", "start"), [(60, 315, 315), (285.5, 315, 315), (400, 415, 415), (600, 600, 600)]
)
def test_knative_cuts_a_call_off_only_after_the_functions_own_limit(
    invocation: float, timeout: int, start: int | None
) -> None:
    spec = template(service_of(wanted(limits={"invocationSeconds": invocation}), "worker"))["spec"]
    assert spec["timeoutSeconds"] == timeout
    assert spec.get("responseStartTimeoutSeconds") == start


@pytest.mark.parametrize(
    ("spec", "cpu", "requested"),
    [
        ({"memory": {"worker": "1769Mi"}}, "1", "100m"),
        ({"memory": {"worker": "3538Mi"}}, "2", "200m"),
        ({"memory": {"worker": "512Mi"}}, "1", "29m"),
        ({"cpu": {"worker": "1"}}, "1", "100m"),
        ({"cpu": {"worker": "500m"}}, "500m", "50m"),
        ({"cpu": {"worker": "1.1"}}, "1100m", "110m"),
        ({"cpu": {"worker": "1.5"}}, "1500m", "150m"),
        ({"cpu": {"merger": "500m"}}, "1", "29m"),
        ({"cpu": {"policy": "ByMemory"}}, "290m", "29m"),
        ({"cpu": {"policy": "ByMemory", "worker": "2"}}, "2", "200m"),
        ({"cpu": {"policy": "ByMemory"}, "memory": {"worker": "3538Mi"}}, "2", "200m"),
        ({"memory": {"worker": "512Mi", "optimize": {}}}, "290m", "29m"),
    ],
)
def test_a_function_may_use_a_cpu_unless_a_limit_is_named_or_follows_memory_and_a_tenth_is_requested(
    spec: dict[str, Any], cpu: str, requested: str
) -> None:
    found = container(service_of(wanted(**spec), "worker"))["resources"]
    assert (found["limits"]["cpu"], found["requests"]["cpu"]) == (cpu, requested)
    assert found["limits"]["memory"] == found["requests"]["memory"]


def test_where_pods_are_resized_a_function_starts_with_a_cpu_whatever_comes_with_its_memory() -> None:
    def limits(**cpu: str) -> dict[Role, str]:
        of = wanted(cpu={"policy": "ByMemory", **cpu})
        of = replace(of, settings=of.settings.model_copy(update={"resizes": True}))
        found = {each: container(service_of(of, each))["resources"] for each in ROLES}
        assert found["worker"]["requests"]["cpu"] in ("29m", "5m")
        return {each: resources["limits"]["cpu"] for each, resources in found.items()}

    assert limits() == {"worker": "1", "merger": "1"}
    assert limits(worker="50m") == {"worker": "50m", "merger": "1"}


def pods(of: TrainingPool) -> list[dict[str, Any]]:
    found = [template(service_of(of, each))["spec"] for each in ROLES]
    return [*found, driver_job.build(of)["spec"]["template"]["spec"]]


def test_all_pods_meet_the_restricted_standard_with_a_read_only_root() -> None:
    for spec in pods(wanted()):
        (one,) = spec["containers"]
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert {"emptyDir", "secret", "configMap"} >= {
            key for volume in spec["volumes"] for key in volume
        } - {"name"}


def test_functions_have_no_service_account_token_and_no_secret_in_their_environment() -> None:
    for each_role in ROLES:
        service = service_of(wanted(), each_role)
        assert template(service)["spec"]["automountServiceAccountToken"] is False
        environment = variables_of(container(service))
        assert environment["SAPFLOW_STORE"].startswith("s3://sapflow?endpoint=")
        assert environment["SAPFLOW_TOKEN_FILE"] == "/etc/sapflow/pool/token"
        assert environment["SAPFLOW_S3_SESSION_TOKEN_FILE"] == "/etc/sapflow/pool/session-token"
        assert not {name for name in environment if name in ("SAPFLOW_TOKEN", "SAPFLOW_S3_SECRET_KEY")}


def test_threads_are_those_of_the_spec_and_never_of_the_node() -> None:
    environment = variables_of(container(service_of(wanted(threads=3), "worker")))
    assert {environment[f"{name}_NUM_THREADS"] for name in ("OMP", "OPENBLAS", "MKL")} == {"3"}


def test_an_image_of_ones_own_runs_our_worker() -> None:
    of = wanted(model={"entrypoint": "mine:model", "image": "registry.example/mine:2"})
    assert container(service_of(of, "worker"))["image"] == "registry.example/mine:2"
    assert container(service_of(of, "worker"))["command"][-1] == "sapflow_functions.roles.worker"
    assert container(service_of(of, "merger"))["image"] == "dev.local/merger:1"
    assert container(service_of(wanted(), "worker"))["imagePullPolicy"] == "Never"


def test_the_driver_is_started_again_after_a_crash_and_not_after_its_own_word() -> None:
    spec = driver_job.build(wanted())["spec"]
    failing, ignored = spec["podFailurePolicy"]["rules"]
    assert failing["onExitCodes"]["values"] == [3]
    assert ignored["action"] == "Ignore"
    assert spec["backoffLimit"] > 10
    assert spec["podReplacementPolicy"] == "Failed"
    assert "cpu" not in spec["template"]["spec"]["containers"][0]["resources"]["limits"]


def test_driver_and_functions_read_all_of_a_job_but_what_the_operator_alone_acts_on() -> None:
    storage = {
        "endpoint": "http://other:9000",
        "bucket": "mine",
        "secretName": "keys",
        "shareCredentials": True,
        "deletionPolicy": "Delete",
    }
    of = wanted(cpu={"worker": "1"}, storage=storage, ttlSecondsAfterFinished=5)
    document = json.loads(config_map.build(of)["data"]["job.json"])
    assert document["metadata"] == {"name": "digits", "namespace": "team", "uid": "u1"}
    assert document["spec"]["storage"] == {
        "endpoint": "http://other:9000",
        "bucket": "mine",
        "region": "us-east-1",
    }
    assert not {"suspend", "ttlSecondsAfterFinished"} & set(document["spec"])
    read = resolved.read(document, "jobs/u1/")
    assert read.to_json() == of.resolved.to_json()
    assert (read.job.spec.workers, read.runtime, read.uid) == (22, "kubernetes", "u1")
    assert read.job.cpus == {"worker": 1.0, "merger": None, "preparer": None}


def test_what_a_driver_need_not_know_does_not_start_it_anew() -> None:
    storage = {"endpoint": "http://minio:9000", "bucket": "sapflow", "deletionPolicy": "Delete"}
    one, other = wanted(), wanted(suspend=True, ttlSecondsAfterFinished=5, storage=storage)
    assert one.digest == other.digest
    assert one.digest != wanted(limits={"retries": 9}).digest
    assert one.digest != wanted(cpu={"worker": "1"}).digest, "it makes the bill"


def test_renewed_credentials_remember_the_access_keys_before_them() -> None:
    issued = Issued("account", Credentials("k4", "s"))
    notes = pool_secret.build(wanted(), "t", issued, ["k1", "k2", "k3"])["metadata"]["annotations"]
    assert notes[names.CREDENTIALS_KEYS] == "k2,k3,k4"


def test_settings_name_every_variable_that_is_missing_or_wrong() -> None:
    from sapflow.errors import SpecError

    with pytest.raises(SpecError) as caught:
        Settings.from_environment({"SAPFLOW_MAX_RUNNING_JOBS": "none", "SAPFLOW_S3_ENDPOINT": "minio"})
    named = {name for name, _ in caught.value.problems}
    assert {"SAPFLOW_MAX_RUNNING_JOBS", "SAPFLOW_S3_ENDPOINT", "SAPFLOW_WORKER_IMAGE"} <= named


AFFINITY = [
    {"from": "Worker", "to": "Merger", "weight": 100},
    {"from": "Merger", "to": "Root", "weight": 30},
]


def wanted_in_cells(**spec: Any) -> TrainingPool:
    given: dict[str, Any] = {
        "affinity": AFFINITY,
        "placement": {"cells": 2},
        "workers": 8,
        "merge": {"structure": [1, 2, 8]},
    }
    of = wanted(**(given | spec))
    return replace(of, packed=placement.of(of.job))


def test_a_placed_job_has_services_and_a_claim_for_each_cell_all_owned_and_allowed() -> None:
    of = wanted_in_cells()
    assert of.groups == [
        Group("worker", 0, 4, in_bursts=True),
        Group("merger", 0, 1),
        Group("worker", 1, 4, in_bursts=True),
        Group("merger", 1, 1),
    ]
    children = [*everything(of), resources.cell(of, 1)]
    assert [each["metadata"]["name"] for each in resources.functions(of)] == [
        "digits-worker-0",
        "digits-merger-0",
        "digits-worker-1",
        "digits-merger-1",
    ]
    allowed = [(rule["resources"], rule["verbs"]) for rule in RULES]
    for child in children:
        assert child["metadata"]["ownerReferences"][0]["uid"] == "u1"
        assert child["apiVersion"] == KINDS[child["kind"]].api_version
        plural = KINDS[child["kind"]].plural
        assert any(plural in of_rule and {"create", "patch"} <= set(verbs) for of_rule, verbs in allowed)


def test_a_cells_pods_share_its_volume_carry_its_label_and_know_where_they_are() -> None:
    of = wanted_in_cells(placement={"cells": 2, "storageClassName": "memory", "size": "256Mi"})
    (pod_spec, one) = template(service_of(of, "worker", 1))["spec"], container(service_of(of, "worker", 1))
    labels = template(service_of(of, "worker", 1))["metadata"]["labels"]
    assert (labels["sapflow.dev/cell"], labels["sapflow.dev/job"]) == ("1", "digits")
    claim = resources.cell(of, 1)
    assert {"name": "cell", "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}} in pod_spec[
        "volumes"
    ]
    assert {"name": "cell", "mountPath": "/cell"} in one["volumeMounts"]
    assert pod_spec["securityContext"]["fsGroup"] == 65532
    environment = {each["name"]: each for each in one["env"]}
    assert environment["SAPFLOW_CELL"]["value"] == "1"
    assert environment["SAPFLOW_CELL_DIRECTORY"]["value"] == "/cell"
    assert environment["SAPFLOW_NODE"]["valueFrom"]["fieldRef"]["fieldPath"] == "spec.nodeName"
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "256Mi"}},
        "storageClassName": "memory",
    }
    assert claim["metadata"]["labels"]["sapflow.dev/cell"] == "1"


@pytest.mark.parametrize(("weight", "kind"), [(100, "required"), (40, "preferred")])
def test_the_weight_of_an_edge_is_that_of_its_pods_affinity_and_100_requires_it(
    weight: int, kind: str
) -> None:
    of = wanted_in_cells(affinity=[{"from": "Worker", "to": "Merger", "weight": weight}])
    for each_role in ROLES:
        template_spec = template(service_of(of, each_role, 0))["spec"]
        affinity = template_spec["affinity"]["podAffinity"]
        assert list(affinity) == [f"{kind}DuringSchedulingIgnoredDuringExecution"]
        ((entry,),) = affinity.values()
        term = entry if kind == "required" else entry["podAffinityTerm"]
        if kind == "preferred":
            assert entry["weight"] == weight
        wanted_labels = term["labelSelector"]["matchLabels"]
        pods_own = template(service_of(of, each_role, 0))["metadata"]["labels"]
        assert wanted_labels.items() <= pods_own.items(), "the first pod must match the term itself"
        assert set(wanted_labels) == {"sapflow.dev/job", "sapflow.dev/cell"}


def test_a_job_that_is_not_placed_has_nothing_of_cells() -> None:
    of = wanted()
    text = json.dumps([*everything(of)])
    assert "cell" not in text
    assert "placement.json" not in text


def test_driver_and_operator_read_the_same_packing() -> None:
    of = wanted_in_cells()
    data = config_map.build(of)["data"]
    assert cells.standing({"data": data}) == of.placed
    document = resolved.read(json.loads(data["job.json"]), "jobs/u1/")
    assert placement.of(document.job) == of.placed


def test_what_is_read_of_no_namespace_is_read_only() -> None:
    assert {verb for rule in NODE_RULES for verb in rule["verbs"]} == {"get", "list"}
