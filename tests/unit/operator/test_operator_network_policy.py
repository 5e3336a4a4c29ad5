"""Whom a job's functions may call, and who may call its functions and its driver."""

import json
from dataclasses import replace
from typing import Any

import pytest
from helpers.operator_settings import SETTINGS

from sapflow.errors import SpecError
from sapflow.spec.document import parse
from sapflow_operator import names
from sapflow_operator.kinds.training_pool import TrainingPool
from sapflow_operator.resources import foundations, network_policy
from sapflow_operator.settings import Settings, StoreNetwork
from sapflow_operator.wanted import Place

NAMESPACE = "kubernetes.io/metadata.name"


def pool(endpoint: str = "http://minio:9000", **settings: Any) -> TrainingPool:
    document = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "a"},
        "spec": {"model": {"name": "mlp"}, "data": {"source": "sklearn:digits"}, "workers": 2},
    }
    place = Place(endpoint, "sapflow", "us-east-1")
    job = parse(document, "kubernetes")
    return TrainingPool("a", "team", "u1", place, SETTINGS.model_copy(update=settings), job)


def ports(rule: dict[str, Any]) -> list[int]:
    return [each["port"] for each in rule.get("ports", ())]


def to_store(of: TrainingPool) -> list[dict[str, Any]]:
    """The rules for calls to the store; the first rule is that of DNS."""
    dns, *rules = network_policy.build(of)["spec"]["egress"]
    assert ports(dns) == [53, 53]
    return list(rules)


def namespaces(peer: dict[str, Any]) -> list[str]:
    (expression,) = peer["namespaceSelector"]["matchExpressions"]
    assert (expression["key"], expression["operator"]) == (NAMESPACE, "In")
    return list(expression["values"])


@pytest.mark.parametrize(
    ("endpoint", "namespace"),
    [
        ("https://minio.storage.svc", "storage"),
        ("http://minio.storage.svc.cluster.local", "storage"),
        ("http://minio:80", "team"),
    ],
)
def test_a_service_of_the_cluster_is_reached_at_any_port_of_its_namespaces_pods_and_nowhere_else(
    endpoint: str, namespace: str
) -> None:
    # The Service's port 80 or 443 may be 9000 of the pod, and only that is ever seen by a policy.
    (rule,) = to_store(pool(endpoint))
    assert "ports" not in rule
    (peer,) = rule["to"]
    assert namespaces(peer) == [namespace]


@pytest.mark.parametrize(
    ("endpoint", "cidr", "port"),
    [
        ("http://192.0.2.7:9000", "192.0.2.7/32", 9000),
        ("https://[2001:db8::7]", "2001:db8::7/128", 443),
    ],
)
def test_an_address_is_reached_alone(endpoint: str, cidr: str, port: int) -> None:
    (rule,) = to_store(pool(endpoint))
    assert rule["to"] == [{"ipBlock": {"cidr": cidr}}]
    assert ports(rule) == [port]


def test_another_name_is_reached_at_its_port_wherever_it_is() -> None:
    (rule,) = to_store(pool("https://s3.eu-west-1.amazonaws.com"))
    assert rule == {"ports": [{"port": 443, "protocol": "TCP"}]}


def test_a_name_of_two_parts_may_be_a_service_or_a_machine() -> None:
    service, machine = to_store(pool("http://store.internal:9000"))
    assert namespaces(service["to"][0]) == ["internal"]
    assert (ports(machine), "to" in machine) == ([9000], False)


def test_a_store_that_the_settings_describe_is_reached_as_they_say() -> None:
    described = StoreNetwork(
        endpoint="https://minio.example.com/",
        ports=(9000, 9001),
        cidrs=("192.0.2.0/24",),
        namespaceLabels={NAMESPACE: "minio"},
        podLabels={"app": "minio"},
    )
    (rule,) = to_store(pool("https://minio.example.com", store_networks=(described,)))
    assert ports(rule) == [9000, 9001]
    assert rule["to"] == [
        {"ipBlock": {"cidr": "192.0.2.0/24"}},
        {
            "namespaceSelector": {"matchLabels": {NAMESPACE: "minio"}},
            "podSelector": {"matchLabels": {"app": "minio"}},
        },
    ]
    assert to_store(pool("https://other.example.com", store_networks=(described,))) == [
        {"ports": [{"port": 443, "protocol": "TCP"}]}
    ]


def test_a_description_without_ports_has_the_endpoints() -> None:
    described = StoreNetwork(endpoint="http://minio.example.com:9000", cidrs=("192.0.2.0/24",))
    (rule,) = to_store(pool("http://minio.example.com:9000", store_networks=(described,)))
    assert ports(rule) == [9000]


def test_functions_are_called_by_knative_behind_any_known_gateway_and_by_their_driver() -> None:
    spec = network_policy.build(pool())["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    knative, driver = spec["ingress"]
    expected = ["knative-serving", "kourier-system", "istio-system", "contour-internal"]
    assert namespaces(knative["from"][0]) == expected
    assert driver["from"] == [{"podSelector": {"matchLabels": pool().labels("driver")}}]
    assert ports(driver) == [8012, 8112]
    elsewhere = pool(knative_namespace="serving", gateway_namespaces=("mesh",))
    rule = network_policy.build(elsewhere)["spec"]["ingress"][0]
    assert namespaces(rule["from"][0]) == ["serving", "mesh"]


def test_a_driver_is_asked_for_its_metrics_alone() -> None:
    policy = network_policy.build_drivers(pool())
    assert policy["spec"]["podSelector"]["matchLabels"] == {names.JOB_LABEL: "a", names.ROLE_LABEL: "driver"}
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    (rule,) = policy["spec"]["ingress"]
    assert (ports(rule), "from" in rule) == ([names.DRIVER_METRICS_PORT], False)
    assert policy in foundations(pool())


def test_names_of_the_two_policies_differ_for_every_job() -> None:
    built = [network_policy.build(pool()), network_policy.build_drivers(pool())]
    assert len({each["metadata"]["name"] for each in built}) == 2


def test_the_settings_read_stores_from_json_and_refuse_what_they_do_not_know() -> None:
    image = dict.fromkeys(
        (
            "SAPFLOW_OPERATOR_IMAGE",
            "SAPFLOW_WORKER_IMAGE",
            "SAPFLOW_MERGER_IMAGE",
            "SAPFLOW_PREPARER_IMAGE",
            "SAPFLOW_SERVER_IMAGE",
        ),
        "a:1",
    )
    store = {"endpoint": "http://minio:80", "ports": [9000], "podLabels": {"app": "minio"}}
    given = image | {"SAPFLOW_STORE_NETWORKS": json.dumps([store])}
    (network,) = Settings.from_environment(given).store_networks
    assert (network.ports, network.pod_labels) == ((9000,), {"app": "minio"})
    for wrong in ("[", json.dumps([store | {"port": 9000}])):
        with pytest.raises(SpecError, match="SAPFLOW_STORE_NETWORKS"):
            Settings.from_environment(image | {"SAPFLOW_STORE_NETWORKS": wrong})


def test_a_job_with_a_store_of_its_own_has_that_stores_rule() -> None:
    of = pool()
    elsewhere = replace(of, place=replace(of.place, endpoint="http://192.0.2.9:9000"))
    assert to_store(elsewhere)[0]["to"] == [{"ipBlock": {"cidr": "192.0.2.9/32"}}]
