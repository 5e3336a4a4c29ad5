"""Jobs on a real cluster with Sapflow installed: from `kubectl apply` to a result, also with pods killed under them."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SAMPLE = Path(__file__).parents[2] / "manifests/samples/digits.yaml"
KUBECTL = shutil.which("kubectl")
SECONDS = 400
"""A job of 360 steps takes two minutes on two cores."""

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(KUBECTL is None, reason="no kubectl on PATH: eval $(tests/cluster/cluster env)"),
    pytest.mark.timeout(2 * SECONDS + 60),
]


def kubectl(*words: str, text: str | None = None) -> str:
    done = subprocess.run(
        [KUBECTL or "kubectl", *words], input=text, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}"
    return done.stdout


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"e2e-{abs(hash(request.node.name)) % 10**8}"
    kubectl("create", "namespace", name)
    kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


def status(namespace: str, name: str = "digits") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(kubectl("get", "tj", "-n", namespace, name, "-o", "json"))
    return dict(found.get("status", {}))


def until(namespace: str, met: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        seen = status(namespace)
        if met(seen):
            return seen
        time.sleep(1)
    raise AssertionError(f"{what} did not come about; the last status was {json.dumps(status(namespace))}")


def condition(seen: dict[str, Any], kind: str) -> dict[str, Any]:
    return next((c for c in seen.get("conditions", []) if c["type"] == kind), {})


def finished(seen: dict[str, Any]) -> bool:
    return condition(seen, "Succeeded").get("status") in ("True", "False")


def at_least(step: int) -> Callable[[dict[str, Any]], bool]:
    return lambda seen: int(seen.get("progress", {}).get("step", 0)) >= step


def kill(namespace: str, selector: str) -> None:
    kubectl("delete", "pod", "-n", namespace, "-l", selector, "--grace-period=0", "--force", "--wait=false")


def test_a_job_whose_pods_are_killed_ends_with_the_weights_of_one_left_alone(namespace: str) -> None:
    kubectl("apply", "-n", namespace, "-f", str(SAMPLE))
    alone = until(namespace, finished, "the end of the undisturbed job")
    assert condition(alone, "Succeeded")["status"] == "True", alone
    assert alone["progress"]["validationAccuracy"] >= 0.96
    kubectl("delete", "tj", "-n", namespace, "digits", "--timeout=60s")

    kubectl("apply", "-n", namespace, "-f", str(SAMPLE))
    victims = [
        (namespace, "sapflow.dev/role=worker"),
        (namespace, "sapflow.dev/role=merger"),
        ("sapflow-system", "app.kubernetes.io/component=operator"),
        (namespace, "sapflow.dev/role=driver"),
    ]
    for number, victim in enumerate(victims, 1):
        until(namespace, at_least(40 * number), f"step {40 * number}")
        kill(*victim)
    disturbed = until(namespace, finished, "the end of the disturbed job")

    assert condition(disturbed, "Succeeded")["status"] == "True", disturbed
    assert disturbed["result"]["sha256"] == alone["result"]["sha256"]


def test_a_deleted_job_leaves_nothing_in_its_namespace(namespace: str) -> None:
    kubectl("apply", "-n", namespace, "-f", str(SAMPLE))
    until(namespace, at_least(5), "the fifth step")

    kubectl("delete", "tj", "-n", namespace, "digits", "--timeout=90s")

    deadline = time.monotonic() + 60
    kinds = "services.serving.knative.dev,jobs,secrets,roles,rolebindings,networkpolicies,pods"
    while left := kubectl("get", kinds, "-n", namespace, "-o", "name").split():
        assert time.monotonic() < deadline, left
        time.sleep(1)
