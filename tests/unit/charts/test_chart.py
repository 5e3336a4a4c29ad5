"""The Helm chart, as `helm template` renders it."""

import json
import re
import subprocess
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.helm import find_helm, require_helm
from helpers.manifests import variables_of

from sapflow.spec.document import parse
from sapflow_operator import names
from sapflow_operator.api.cluster import NODE_RULES, RULES
from sapflow_operator.kinds.crd import DESCRIBED, crd
from sapflow_operator.kinds.training_pool import TrainingPool
from sapflow_operator.resources import driver_job, role
from sapflow_operator.settings import VARIABLES, Image, ObjectStorage, Settings
from sapflow_operator.wanted import Place

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "charts" / "sapflow"
NAMESPACE = "sapflow-system"
Manifest = dict[str, Any]

pytestmark = pytest.mark.usefixtures("_helm")


@pytest.fixture(scope="session")
def _helm() -> None:
    require_helm()


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [find_helm() or "helm", *arguments, "--kube-version", "1.34.0"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@lru_cache
def render(*values: str) -> list[Manifest]:
    """All manifests of the chart with `name=value` settings."""
    settings = [part for value in values for part in ("--set", value)]
    process = helm("template", "sapflow", str(CHART), "--namespace", NAMESPACE, *settings)
    assert process.returncode == 0, process.stderr
    return [found for found in yaml.safe_load_all(process.stdout) if found]


def refusal(*values: str) -> str:
    """What helm says to settings that the chart refuses."""
    settings = [part for value in values for part in ("--set", value)]
    process = helm("template", "sapflow", str(CHART), "--namespace", NAMESPACE, *settings)
    assert process.returncode != 0
    return process.stderr


def of_kind(kind: str, *values: str) -> list[Manifest]:
    return [found for found in render(*values) if found["kind"] == kind]


def the(kind: str, name: str, *values: str) -> Manifest:
    (found,) = (each for each in of_kind(kind, *values) if each["metadata"]["name"] == name)
    return found


def pods(*values: str) -> list[tuple[str, Manifest]]:
    """The spec of every pod that the chart can start."""
    found = []
    for each in render(*values):
        name = f"{each['kind']}/{each['metadata']['name']}"
        if each["kind"] == "Pod":
            found.append((name, each["spec"]))
        elif each["kind"] in ("Deployment", "StatefulSet", "Job"):
            found.append((name, each["spec"]["template"]["spec"]))
    return found


def environment(*values: str) -> dict[str, str]:
    container = the("Deployment", "sapflow-operator", *values)["spec"]["template"]["spec"]["containers"][0]
    return variables_of(container)


MINIO = "minio.enabled=true"
STORE = ("objectStorage.endpoint=http://store:9000", "objectStorage.existingSecret=mine")
EVERYTHING = (
    MINIO, "podMonitor.enabled=true", "serviceMonitor.enabled=true", "prometheusRules.enabled=true",
    "dashboards.enabled=true", "imagePullSecrets={registry}",
)  # fmt: skip


def wanted() -> TrainingPool:
    """A job, as the operator builds its children from it."""
    image = Image(name="dev.local/any:1")
    document = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "digits", "namespace": "team", "uid": "u-1"},
        "spec": {"model": {"name": "mlp"}, "data": {"source": "sklearn:digits"}, "workers": 2},
    }
    return TrainingPool(
        "digits",
        "team",
        "u-1",
        Place("http://store:9000", "sapflow", "us-east-1"),
        Settings(
            operator_image=image,
            worker_image=image,
            merger_image=image,
            preparer_image=image,
            server_image=image,
        ),
        parse(document, "kubernetes"),
    )


def test_lints_strictly() -> None:
    process = helm("lint", "--strict", str(CHART))
    assert process.returncode == 0, process.stdout + process.stderr


def test_its_version_is_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == project
    assert environment()["SAPFLOW_WORKER_IMAGE"] == f"dev.local/sapflow-worker:{project}"


# --- values


def _objects(schema: Any, path: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = []
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            found.append((path, schema))
        for name, value in schema.items():
            found += _objects(value, f"{path}/{name}")
    elif isinstance(schema, list):
        for index, value in enumerate(schema):
            found += _objects(value, f"{path}/{index}")
    return found


def test_no_map_of_the_schema_takes_what_it_does_not_know() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    # Helm puts `global` there by itself where the chart is part of another.
    open_maps = [
        path
        for path, each in _objects(schema)
        if each.get("additionalProperties") not in (False, {"type": "string"})
        and path != "/properties/global"
    ]
    assert open_maps == []


def _same_fields(values: dict[str, Any], schema: dict[str, Any], definitions: dict[str, Any]) -> list[str]:
    """Fields that values.yaml and the schema do not both have, maps of the user's own left out."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name != "image":
            return []
        schema = definitions[name]
    properties = schema.get("properties", {})
    found = [f"{name} is in one only" for name in (set(values) ^ set(properties)) - {"global"}]
    for name, value in values.items():
        if isinstance(value, dict) and "properties" in properties.get(name, {}):
            found += [f"{name}.{each}" for each in _same_fields(value, properties[name], definitions)]
    return found


def test_every_value_is_in_the_schema_and_has_a_default() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert _same_fields(values, schema, schema["definitions"]) == []


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("replicas=2", "'replicas' not allowed"),
        ("minio.pasword=x", "'pasword' not allowed"),
        ("images.worker.digest=x", "'digest' not allowed"),
        ("securityContext.privileged=true", "'privileged' not allowed"),
        ("podSecurityContext.runAsUser=0", "/podSecurityContext/runAsUser"),
        ("functions.windowSeconds=5", "/functions/windowSeconds"),
        ("logLevel=debug", "/logLevel"),
        ("objectStorage.bucket=No", "/objectStorage/bucket"),
        ("objectStorage.endpoint=minio:9000", "/objectStorage/endpoint"),
        ("maxRunningJobs=0", "/maxRunningJobs"),
        ("watchNamespaces={a,a}", "/watchNamespaces"),
        ("networkPolicy.stores[0].ports={9000}", "/networkPolicy/stores/0"),
        ("networkPolicy.gatewayNamespaces={Kourier}", "/networkPolicy/gatewayNamespaces"),
    ],
)
def test_a_wrong_value_is_refused_by_its_path(value: str, said: str) -> None:
    assert said in refusal(value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (("objectStorage.endpoint=http://store:9000",), "needs credentials"),
        ((*STORE, MINIO), "name a store of your own, or take the chart's MinIO"),
        ((*STORE, "objectStorage.accessKey=a", "objectStorage.secretKey=b"), "give the credentials once"),
        ((MINIO, "objectStorage.accessKey=a"), "go together"),
        (("objectStorage.accessKey=a", "objectStorage.secretKey=b"), "without a store"),
    ],
)
def test_settings_of_the_store_that_contradict_each_other_are_refused(
    values: tuple[str, ...], said: str
) -> None:
    assert said in refusal(*values)


# --- the operator


def test_the_operator_reads_every_variable_that_the_chart_sets_and_knows_no_other(tmp_path: Path) -> None:
    given = environment(MINIO, "watchNamespaces={a,b}", "imagePullSecrets={registry}")
    of_the_heap = {"PYTHONMALLOC", "LD_PRELOAD", "MALLOC_CONF"}  # read by Python, the loader and jemalloc
    assert {name.removesuffix("_FILE") for name in given} == set(VARIABLES) | of_the_heap
    for name in ("ACCESS_KEY", "SECRET_KEY"):
        file = tmp_path / name
        file.write_text(f"{name.lower()}\n")
        given[f"SAPFLOW_S3_{name}_FILE"] = str(file)
    settings = Settings.from_environment(given)
    assert settings.namespaces == ("a", "b")
    assert settings.image_pull_secrets == ("registry",)
    assert settings.storage is not None
    assert isinstance(settings.storage, ObjectStorage)
    assert settings.storage.endpoint == "http://sapflow-minio.sapflow-system.svc.cluster.local:9000"
    assert settings.storage.secret_key.get_secret_value() == "secret_key"


def test_functions_are_told_where_the_charts_minio_and_other_stores_are() -> None:
    def networks(*values: str) -> tuple[Any, ...]:
        given = {name: value for name, value in environment(*values).items() if "_S3_" not in name}
        return Settings.from_environment(given).store_networks

    assert networks() == ()
    (own,) = networks(MINIO)
    assert own.endpoint == "http://sapflow-minio.sapflow-system.svc.cluster.local:9000"
    assert own.namespace_labels == {"kubernetes.io/metadata.name": NAMESPACE}
    (port,) = the("StatefulSet", "sapflow-minio", MINIO)["spec"]["template"]["spec"]["containers"][0]["ports"]
    assert own.ports == (port["containerPort"],)
    labels = the("StatefulSet", "sapflow-minio", MINIO)["spec"]["selector"]["matchLabels"]
    assert own.pod_labels == labels
    store = "networkPolicy.stores[0]"
    given = (
        f"{store}.endpoint=https://s3.example",
        f"{store}.cidrs={{192.0.2.0/24}}",
        f"{store}.ports={{9000}}",
    )
    both = networks(MINIO, *given)
    assert [each.cidrs for each in both] == [("192.0.2.0/24",), ()]
    assert both[0].ports == (9000,)
    settings = Settings.from_environment(environment("networkPolicy.gatewayNamespaces={mesh}"))
    assert settings.gateway_namespaces == ("mesh",)
    assert settings.knative_namespace == "knative-serving"


def test_without_a_store_the_operator_is_told_of_none() -> None:
    assert not any(name.startswith("SAPFLOW_S3") for name in environment())
    assert Settings.from_environment(environment()).storage is None


def test_there_is_one_operator_and_never_two() -> None:
    spec = the("Deployment", "sapflow-operator")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_the_operator_is_probed_where_it_answers() -> None:
    (container,) = the("Deployment", "sapflow-operator")["spec"]["template"]["spec"]["containers"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    settings = Settings.from_environment(environment())
    assert ports == {"liveness": settings.liveness_port, "metrics": settings.metrics_port}
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "liveness"}


@pytest.mark.parametrize("values", [(), STORE, EVERYTHING], ids=["defaults", "store", "everything"])
def test_every_pod_meets_the_restricted_standard(values: tuple[str, ...]) -> None:
    for pod, found in pods(*values):
        context = found["securityContext"]
        assert context["runAsNonRoot"] is True, pod
        assert context["runAsUser"] > 0, pod
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, pod
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(found), pod
        for container in found["containers"]:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, pod
            assert own["readOnlyRootFilesystem"] is True, pod
            assert own["capabilities"] == {"drop": ["ALL"]}, pod
            assert "memory" in container["resources"]["limits"], pod
        for volume in found["volumes"]:
            assert set(volume) - {"name"} <= {"emptyDir", "secret", "persistentVolumeClaim"}, pod


def test_pull_secrets_are_given_to_every_pod() -> None:
    for name, found in pods(*EVERYTHING):
        assert found["imagePullSecrets"] == [{"name": "registry"}], name


def test_an_upgrade_changes_no_selector() -> None:
    for kind in ("Deployment", "StatefulSet"):
        for each in of_kind(kind, MINIO):
            selector = each["spec"]["selector"]["matchLabels"]
            assert set(selector) == {
                f"app.kubernetes.io/{part}" for part in ("name", "instance", "component")
            }


# --- rights


def _rights(rules: Any) -> set[tuple[str, str, str]]:
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_the_operator_may_do_what_it_does_and_nothing_else() -> None:
    granted = {
        each["metadata"]["name"]: _rights(each["rules"])
        for each in of_kind("ClusterRole")
        if "helm.sh/hook" not in each["metadata"].get("annotations", {})
    }
    assert granted == {
        "sapflow-operator": _rights(RULES),
        "sapflow-operator-nodes": _rights(NODE_RULES),
    }


def test_the_check_after_an_installation_may_read_every_kind_that_it_looks_for() -> None:
    tests = [
        each
        for each in of_kind("ClusterRole")
        if each["metadata"].get("annotations", {}).get("helm.sh/hook") == "test"
    ]
    (rule,) = [rule for each in tests for rule in each["rules"] if "resourceNames" in rule]
    assert set(rule["resourceNames"]) == {
        *(f"{each.plural}.{names.GROUP}" for each in (*names.RESOURCES, names.TRIAL)),
        "services.serving.knative.dev",
    }


@pytest.mark.parametrize(
    ("values", "sees"),
    [
        ([], True),
        (["watchNamespaces={a}"], False),
        (["watchNamespaces={a}", "rbac.nodes=true"], True),
        (["rbac.nodes=false"], False),
    ],
)
def test_nodes_are_read_by_an_operator_of_the_whole_cluster_or_where_that_is_asked_for(
    values: list[str], sees: bool
) -> None:
    bindings = [each["metadata"]["name"] for each in of_kind("ClusterRoleBinding", *values)]
    assert ("sapflow-operator-nodes" in bindings) == sees


def test_no_right_is_a_wildcard_and_secrets_are_never_listed() -> None:
    for kind in ("ClusterRole", "Role"):
        for each in of_kind(kind, *EVERYTHING):
            for group, resource, verb in _rights(each["rules"]):
                assert "*" not in (group, resource, verb)
                assert resource != "secrets" or verb not in ("list", "watch")


def test_the_operator_can_hand_on_every_right_of_a_driver() -> None:
    # The API server refuses a Role that says more than its maker may do.
    assert _rights(role.build(wanted())["rules"]) <= _rights(RULES)


def test_rights_are_for_the_watched_namespaces_only() -> None:
    def bound(*values: str) -> set[tuple[str, str | None]]:
        return {
            (each["kind"], each["metadata"].get("namespace"))
            for kind in ("ClusterRoleBinding", "RoleBinding")
            for each in of_kind(kind, *values)
            if each["roleRef"]["name"] == "sapflow-operator"
        }

    assert bound() == {("ClusterRoleBinding", None)}
    assert bound("watchNamespaces={a,b}") == {("RoleBinding", "a"), ("RoleBinding", "b")}


def test_without_rbac_no_rights_are_made() -> None:
    kinds = {each["kind"] for each in render("rbac.create=false")}
    assert not kinds & {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}


def test_the_admission_policy_is_about_the_drivers_own_account() -> None:
    policy = the("ValidatingAdmissionPolicy", "sapflow-driver-status")
    (condition,) = policy["spec"]["matchConditions"]
    assert names.driver("digits") == "digits-driver"
    assert "request.namespace + ':' + request.name)" in condition["expression"]
    assert condition["expression"].endswith("request.userInfo.username.endsWith('-driver')")
    (rule,) = policy["spec"]["matchConstraints"]["resourceRules"]
    plurals = sorted(each.plural for each in names.RESOURCES)
    assert rule["resources"] == [name for each in plurals for name in (each, f"{each}/status")]
    # A request for the job itself has no subResource at all.
    assert "has(request.subResource)" in policy["spec"]["validations"][0]["expression"]
    for each in of_kind("ValidatingAdmissionPolicy"):
        binding = the("ValidatingAdmissionPolicyBinding", each["metadata"]["name"])
        assert binding["spec"] == {"policyName": each["metadata"]["name"], "validationActions": ["Deny"]}
        assert each["spec"]["failurePolicy"] == "Fail"


# --- CRDs, installing, uninstalling


def test_crds_are_those_that_the_spec_generates_number_for_number() -> None:
    made = {each["metadata"]["name"]: each["spec"] for each in of_kind("CustomResourceDefinition")}
    assert made == {each["metadata"]["name"]: each["spec"] for each in map(crd, DESCRIBED.values())}
    assert (ROOT / "manifests" / "crds").resolve() == CHART / "files" / "crds"


def test_crds_are_kept_left_out_or_go_as_asked() -> None:
    kept, going = (of_kind("CustomResourceDefinition", *values) for values in ([], ["crds.keep=false"]))
    assert len(kept) == len(going) == len(DESCRIBED)
    for each in kept:
        assert each["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert not [each for each in going if "annotations" in each["metadata"]]
    assert of_kind("CustomResourceDefinition", "crds.enabled=false") == []


@pytest.mark.parametrize(
    ("values", "mode"),
    [
        ((), "release"),
        (("crds.keep=false",), "delete"),
        (("crds.keep=false", "crds.enabled=false"), "release"),
    ],
)
def test_uninstalling_deletes_jobs_only_where_their_kind_goes(values: tuple[str, ...], mode: str) -> None:
    hook = the("Job", "sapflow-uninstall", *values)
    assert hook["metadata"]["annotations"]["helm.sh/hook"] == "pre-delete"
    command = hook["spec"]["template"]["spec"]["containers"][0]["command"]
    assert command[:4] == ["python3", "-m", "sapflow_operator.hooks.uninstall", mode]
    deployment = the("Deployment", "sapflow-operator", *values)
    labels = deployment["spec"]["selector"]["matchLabels"]
    asked = dict(pair.split("=") for pair in command[command.index("--selector") + 1].split(","))
    assert asked == labels
    assert command[command.index("--operator") + 1] == deployment["metadata"]["name"]


def test_only_while_uninstalling_the_operator_may_be_stopped() -> None:
    found = the("Role", "sapflow-uninstall")
    assert found["metadata"]["annotations"]["helm.sh/hook"] == "pre-delete"
    (rule,) = (each for each in found["rules"] if "deployments/scale" in each["resources"])
    assert (rule["resourceNames"], rule["verbs"]) == (["sapflow-operator"], ["patch"])


# --- MinIO


def _data_volume(*values: str) -> Manifest:
    spec = the("StatefulSet", "sapflow-minio", MINIO, *values)["spec"]["template"]["spec"]
    (found,) = (each for each in spec["volumes"] if each["name"] == "data")
    return dict(found)


def test_minio_keeps_its_volume_when_the_chart_goes() -> None:
    claim = the("PersistentVolumeClaim", "sapflow-minio", MINIO)
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert _data_volume()["persistentVolumeClaim"] == {"claimName": "sapflow-minio"}
    # What is in the volume is read with these.
    assert the("Secret", "sapflow-storage", MINIO)["metadata"]["annotations"] == {
        "helm.sh/resource-policy": "keep"
    }


def test_minio_takes_a_claim_that_is_there_or_none() -> None:
    named, none = "minio.persistence.existingClaim=mine", "minio.persistence.enabled=false"
    assert _data_volume(named)["persistentVolumeClaim"] == {"claimName": "mine"}
    assert _data_volume(none)["emptyDir"] == {}
    for value in (named, none):
        assert of_kind("PersistentVolumeClaim", MINIO, value) == []


def test_minios_bucket_is_made_by_a_hook() -> None:
    hook = the("Job", "sapflow-bucket", MINIO)
    assert hook["metadata"]["annotations"]["helm.sh/hook"] == "post-install,post-upgrade"
    assert {each["metadata"]["name"] for each in of_kind("Job")} == {"sapflow-uninstall"}


def test_credentials_are_the_given_ones_a_users_secret_or_made_up() -> None:
    given = the(
        "Secret", "sapflow-storage", MINIO, "objectStorage.accessKey=a", "objectStorage.secretKey=bbbbbbbb"
    )
    assert given["stringData"] == {"access-key": "a", "secret-key": "bbbbbbbb"}
    assert len(the("Secret", "sapflow-storage", MINIO)["stringData"]["secret-key"]) == 32
    assert of_kind("Secret", *STORE) == []
    (volume,) = (
        each
        for each in the("Deployment", "sapflow-operator", *STORE)["spec"]["template"]["spec"]["volumes"]
        if each["name"] == "storage"
    )
    assert volume["secret"]["secretName"] == "mine"


# --- network and monitoring


def _selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def test_minio_is_open_to_the_pods_of_sapflow_alone() -> None:
    policy = the("NetworkPolicy", "sapflow-minio", MINIO)
    (rule,) = policy["spec"]["ingress"]
    selector = rule["from"][0]["podSelector"]["matchLabels"]
    for each in ("worker", "merger", names.DRIVER):
        assert _selects(selector, names.labels("digits", each))
    operator = the("Deployment", "sapflow-operator")["spec"]["template"]["metadata"]["labels"]
    assert _selects(selector, operator)
    assert of_kind("NetworkPolicy", MINIO, "networkPolicy.enabled=false") == []


def test_monitors_are_there_only_where_asked_for() -> None:
    kinds = {"PodMonitor", "ServiceMonitor", "PrometheusRule", "ConfigMap"}
    assert not kinds & {each["kind"] for each in render()}
    assert kinds <= {each["kind"] for each in render(*EVERYTHING)}


def test_the_pod_monitor_finds_every_driver() -> None:
    monitor = the("PodMonitor", "sapflow-drivers", *EVERYTHING)
    pod = driver_job.build(wanted())["spec"]["template"]
    assert _selects(monitor["spec"]["selector"]["matchLabels"], pod["metadata"]["labels"])
    ports = {each["name"] for each in pod["spec"]["containers"][0]["ports"]}
    assert {each["port"] for each in monitor["spec"]["podMetricsEndpoints"]} <= ports
    assert monitor["spec"]["namespaceSelector"] == {"any": True}
    narrow = the("PodMonitor", "sapflow-drivers", "podMonitor.enabled=true", "watchNamespaces={a}")
    assert narrow["spec"]["namespaceSelector"] == {"matchNames": ["a"]}


def test_the_service_monitor_finds_the_operator() -> None:
    (monitor,) = of_kind("ServiceMonitor", *EVERYTHING)
    service = the("Service", "sapflow-operator")
    assert _selects(monitor["spec"]["selector"]["matchLabels"], service["metadata"]["labels"])
    labels = the("Deployment", "sapflow-operator")["spec"]["template"]["metadata"]["labels"]
    assert _selects(service["spec"]["selector"], labels)


def test_dashboards_are_where_grafanas_sidecar_looks() -> None:
    (found,) = of_kind("ConfigMap", *EVERYTHING)
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    for name, text in found["data"].items():
        assert json.loads(text) == json.loads((CHART / "files" / "dashboards" / name).read_text())


def test_alert_rules_arrive_as_they_are_written() -> None:
    (found,) = of_kind("PrometheusRule", *EVERYTHING)
    assert found["spec"] == yaml.safe_load((CHART / "files" / "rules" / "sapflow.yaml").read_text())


def test_the_notes_name_files_that_are_there() -> None:
    files = re.findall(r"-f (\S+)", (CHART / "templates" / "NOTES.txt").read_text())
    assert files
    assert [file for file in files if not (ROOT / file).exists()] == []
