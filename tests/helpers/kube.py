"""A real cluster for tests: kubectl, namespaces, TrainingJobs and what is seen of them."""

import contextlib
import json
import secrets
import shutil
import socket
import subprocess
import time
import tomllib
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import yaml

from sapflow.objects.stores.credentials import Credentials
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store
from sapflow.spec.labels import selector

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "manifests" / "samples"
SYSTEM = "sapflow-system"
"""The namespace that Sapflow is installed in."""
SECONDS = 400.0
"""A job of 360 steps takes two minutes on two cores."""
ONE_CPU = {"worker": "1", "merger": "1"}
"""Limits for tests that name theirs."""
CHILDREN = "ksvc,jobs,pods,secrets,configmaps,serviceaccounts,roles,rolebindings,networkpolicies"
OURS = "app.kubernetes.io/managed-by=sapflow-operator"


def run_kubectl(
    *words: str, text: str | None = None, seconds: float = 180
) -> subprocess.CompletedProcess[str]:
    binary = shutil.which("kubectl")
    assert binary is not None, "no kubectl on PATH"
    return subprocess.run(
        [binary, *words], input=text, capture_output=True, text=True, check=False, timeout=seconds
    )


def kubectl(*words: str, text: str | None = None, seconds: float = 180) -> str:
    """What kubectl prints; fails the test with its words where it fails."""
    done = run_kubectl(*words, text=text, seconds=seconds)
    assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}"
    return done.stdout


def read(*words: str) -> dict[str, Any]:
    """`kubectl get … -o json`."""
    found: dict[str, Any] = json.loads(kubectl("get", *words, "-o", "json"))
    return found


@contextlib.contextmanager
def namespace_of_its_own(prefix: str = "e2e") -> Iterator[str]:
    """A namespace that enforces the restricted Pod Security Standard, gone afterwards with all its jobs."""
    name = f"{prefix}-{secrets.token_hex(3)}"
    kubectl("create", "namespace", name)
    kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    try:
        yield name
    finally:
        run_kubectl("delete", "namespace", name, "--wait=false")


def wait_until(met: Callable[[], Any], what: str, seconds: float = SECONDS, pause: float = 0.5) -> Any:
    """The first true answer of `met`; fails the test where there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        if found := met():
            return found
        assert time.monotonic() < deadline, f"within {seconds:g} s {what} did not come about"
        time.sleep(pause)


def sample(name: str, **changes: Any) -> dict[str, Any]:
    """A sample's document, with fields of its spec changed: `algorithm__epochs=2`, `suspend=True`."""
    document: dict[str, Any] = yaml.safe_load((SAMPLES / f"{name}.yaml").read_text())
    return changed(document, **changes)


def changed(document: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """A copy of a job with fields of its spec changed; None takes a field away."""
    copy: dict[str, Any] = deepcopy(dict(document))
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = copy["spec"]
        for parent in parents:
            place = place.setdefault(parent, {}) if value is not None else place.get(parent, {})
        if value is None:
            place.pop(last, None)
        else:
            place[last] = value
    return copy


@dataclass(frozen=True)
class Job:
    """A TrainingJob in a cluster."""

    namespace: str
    name: str

    kind: ClassVar[str] = "TrainingJob"
    short: ClassVar[str] = "tj"

    @classmethod
    def apply(cls, namespace: str, document: Mapping[str, Any], name: str | None = None) -> Self:
        body = deepcopy(dict(document))
        if name is not None:
            body["metadata"]["name"] = name
        kubectl("apply", "-n", namespace, "-f", "-", text=json.dumps(body))
        return cls(namespace, body["metadata"]["name"])

    def read(self) -> dict[str, Any]:
        return read(self.short, "-n", self.namespace, self.name)

    @property
    def status(self) -> dict[str, Any]:
        return dict(self.read().get("status", {}))

    @property
    def step(self) -> int:
        return step_of(self.status)

    def condition(self, type: str) -> dict[str, Any]:
        return condition_of(self.status, type)

    @property
    def state(self) -> tuple[str, str]:
        """Status and reason of the condition Succeeded."""
        succeeded = self.condition("Succeeded")
        return succeeded.get("status", ""), succeeded.get("reason", "")

    def until(
        self, met: Callable[[dict[str, Any]], bool], what: str, seconds: float = SECONDS
    ) -> dict[str, Any]:
        """The first status that meets a wish; fails at once where the job has failed meanwhile."""
        deadline = time.monotonic() + seconds
        while True:
            seen = self.status
            if met(seen):
                return seen
            story = (
                f"{what} did not come about: {self.condition('Succeeded')}; the status was {json.dumps(seen)}"
            )
            assert not finished(seen), story
            assert time.monotonic() < deadline, f"within {seconds:g} s {story}"
            time.sleep(0.5)

    def until_step(self, step: int, seconds: float = SECONDS) -> dict[str, Any]:
        return self.until(lambda seen: step_of(seen) >= step, f"step {step}", seconds)

    def until_finished(self, seconds: float = SECONDS) -> dict[str, Any]:
        return self.until(finished, "the job's end", seconds)

    def until_succeeded(self, seconds: float = SECONDS) -> dict[str, Any]:
        seen = self.until_finished(seconds)
        assert condition_of(seen, "Succeeded").get("status") == "True", json.dumps(seen)
        return seen

    def watched_until_succeeded(self, seconds: int) -> dict[str, Any]:
        """As `until_succeeded`, by one watch: each look of `until` starts a kubectl, which costs 0.1 s of CPU."""
        condition = "--for=condition=Succeeded=True"
        kubectl("wait", self.short, "-n", self.namespace, self.name, condition, f"--timeout={seconds}s")
        return self.status

    def until_reason(self, reason: str, type: str = "Succeeded", seconds: float = SECONDS) -> dict[str, Any]:
        """A condition with this reason, and the status that it was seen in."""
        return self.until(
            lambda seen: condition_of(seen, type).get("reason") == reason, f"{type} with {reason}", seconds
        )

    def patch(self, spec: Mapping[str, Any]) -> None:
        body = json.dumps({"spec": spec})
        kubectl("patch", self.short, "-n", self.namespace, self.name, "--type=merge", "-p", body)

    def delete(self, seconds: int = 120) -> None:
        """Delete it and wait until it is gone."""
        kubectl("delete", self.short, "-n", self.namespace, self.name, f"--timeout={seconds}s")

    def pods(self, role: str | None = None) -> list[dict[str, Any]]:
        return list(read("pods", "-n", self.namespace, "-l", selector(self.name, role))["items"])

    def kill(self, role: str) -> None:
        """Kill a role's pods, as a node that dies would: without grace."""
        kill_pods(self.namespace, selector(self.name, role))

    def events(self) -> list[dict[str, Any]]:
        field = f"involvedObject.kind={self.kind},involvedObject.name={self.name}"
        return list(read("events", "-n", self.namespace, "--field-selector", field)["items"])

    def children(self) -> list[str]:
        """What there is of it besides itself."""
        ours = f"{OURS},{selector(self.name)}"
        return kubectl("get", CHILDREN, "-n", self.namespace, "-l", ours, "-o", "name").split()


def condition_of(status: Mapping[str, Any], type: str) -> dict[str, Any]:
    return next((dict(each) for each in status.get("conditions", ()) if each["type"] == type), {})


def step_of(status: Mapping[str, Any]) -> int:
    return int(status.get("progress", {}).get("step", 0))


def finished(status: Mapping[str, Any]) -> bool:
    return condition_of(status, "Succeeded").get("status") in ("True", "False")


def kill_pods(namespace: str, selected: str) -> None:
    """Kill pods without grace; fails the test where there is none."""
    words = ("--grace-period=0", "--force", "--wait=false", "-o", "name")
    assert kubectl("delete", "pod", "-n", namespace, "-l", selected, *words).strip(), f"no pod is {selected}"


@contextlib.contextmanager
def forwarded(namespace: str, target: str, port: int) -> Iterator[int]:
    """A local port that leads to a pod or service (`svc/NAME`), by kubectl port-forward."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        local = int(free.getsockname()[1])
    process = subprocess.Popen(
        [shutil.which("kubectl") or "kubectl", "port-forward", "-n", namespace, target, f"{local}:{port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _answers(local), f"a way to {target}", 30)
        yield local
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def version() -> str:
    """Of the project, and so of its images."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def own_models_image() -> str:
    """The worker's image with the models of the tests and samples in it: tools/e2e builds it."""
    return f"dev.local/sapflow-own-models:{version()}"


def owner() -> Credentials:
    """The credentials that the operator makes those of jobs with."""
    data = read("secret", "-n", SYSTEM, "sapflow-storage")["data"]
    return Credentials(b64decode(data["access-key"]).decode(), b64decode(data["secret-key"]).decode())


def owner_environment() -> dict[str, str]:
    """The owner's credentials as commands read them."""
    keys = owner()
    return {"SAPFLOW_S3_ACCESS_KEY": keys.access_key, "SAPFLOW_S3_SECRET_KEY": keys.secret_key}


@contextlib.contextmanager
def reachable_store() -> Iterator[str]:
    """The endpoint of the chart's MinIO, as seen from here."""
    with forwarded(SYSTEM, "svc/sapflow-minio", 9000) as port:
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def owned_store() -> Iterator[Store]:
    """The bucket of all jobs, opened by its owner."""
    bucket = operator_environment()["SAPFLOW_S3_BUCKET"]
    with reachable_store() as endpoint:
        store = open_store(f"s3://{bucket}?endpoint={endpoint}", owner())
        yield store
        store.close()


def operator_environment() -> dict[str, str]:
    """What the installed operator is told in plain values."""
    deployment = read("deployment", "-n", SYSTEM, "sapflow-operator")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each.get("value", "") for each in container["env"]}
