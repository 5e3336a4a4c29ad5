"""The chart upgraded and uninstalled under running jobs, also with the operator already dead.

Run by itself: it takes Sapflow away, and installs it again at the end as it was.
"""

import json
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.helm import find_helm
from helpers.kube import (
    ONE_CPU,
    ROOT,
    SYSTEM,
    Job,
    forwarded,
    kubectl,
    namespace_of_its_own,
    read,
    run_kubectl,
    sample,
    step_of,
    wait_until,
)
from minio import Minio

CHART = ROOT / "charts" / "sapflow"
RELEASE = "sapflow"
CRD = "trainingjobs.sapflow.dev"
NEXT = "next"
"""The tag of the images that tools/e2e makes of the operator's and the merger's, as if of a later version."""
STEPS = 1000
DIGITS: dict[str, Any] = sample(
    "digits",
    workers=2,
    merge__structure=[1, 2],
    algorithm={"steps": STEPS},
    evaluation=None,
    cpu=ONE_CPU,
    memory={"worker": "512Mi", "merger": "128Mi"},
)


def helm(*words: str) -> str:
    binary = find_helm()
    assert binary is not None
    done = subprocess.run([binary, *words], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, f"helm {' '.join(words)}: {done.stderr}"
    return done.stdout


def install(values: dict[str, Any], folder: Path, chart: Path = CHART) -> None:
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    helm(
        "upgrade",
        "--install",
        RELEASE,
        str(chart),
        "-n",
        SYSTEM,
        "-f",
        str(path),
        "--wait",
        "--timeout",
        "5m",
    )


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The values that Sapflow is installed with; it is installed with them again in the end."""
    found = yaml.safe_load(helm("get", "values", RELEASE, "-n", SYSTEM, "-o", "yaml")) or {}
    yield found
    install(found, tmp_path_factory.mktemp("values"))


@pytest.fixture(scope="module")
def with_store_elsewhere(values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The same, on a store that does not go with the chart."""
    key, secret = secrets.token_hex(8), secrets.token_hex(16)
    with namespace_of_its_own("store") as namespace:
        options = f"minio.enabled=true,minio.persistence.enabled=false,objectStorage.accessKey={key}"
        parts = (
            "-s",
            "templates/minio.yaml",
            "-s",
            "templates/storage-secret.yaml",
            "--no-hooks",
            "--kube-version",
            "1.34.0",
        )
        rendered = helm(
            "template",
            "store",
            str(CHART),
            "-n",
            namespace,
            "--set",
            f"{options},objectStorage.secretKey={secret}",
            *parts,
        )
        kubectl("apply", "-n", namespace, "-f", "-", text=rendered)
        (name,) = [each["metadata"]["name"] for each in read("statefulsets", "-n", namespace)["items"]]
        kubectl("rollout", "status", "-n", namespace, f"statefulset/{name}", "--timeout=120s")
        with forwarded(namespace, f"svc/{name}", 9000) as port:
            store = Minio(f"127.0.0.1:{port}", access_key=key, secret_key=secret, secure=False)
            store.make_bucket("sapflow")
            storage = {
                "endpoint": f"http://{name}.{namespace}.svc.cluster.local:9000",
                "accessKey": key,
                "secretKey": secret,
            }
            yield {**values, "minio": {"enabled": False}, "objectStorage": storage, "_store": store}


def on_its_own_store(values: dict[str, Any], **more: Any) -> tuple[dict[str, Any], Minio]:
    store: Minio = values["_store"]
    return {**{name: value for name, value in values.items() if name != "_store"}, **more}, store


def kill_operator() -> None:
    kubectl("scale", "-n", SYSTEM, "deploy/sapflow-operator", "--replicas=0")
    selector = "app.kubernetes.io/component=operator"
    wait_until(lambda: not read("pods", "-n", SYSTEM, "-l", selector)["items"], "no operator", 60)


def driver_uids(job: Job) -> list[str]:
    return [pod["metadata"]["uid"] for pod in job.pods("driver")]


def images_of(job: Job, role: str) -> set[str]:
    return {container["image"] for pod in job.pods(role) for container in pod["spec"]["containers"]}


def test_an_upgrade_leaves_a_running_job_alone_and_the_next_job_runs_on_the_new_version(
    values: dict[str, Any], namespace: str, tmp_path: Path
) -> None:
    helm("package", str(CHART), "--version", "0.9.9", "--app-version", NEXT, "-d", str(tmp_path))
    job = Job.apply(namespace, DIGITS)
    job.until_step(10)
    driver, began = driver_uids(job), job.status["images"]
    worker = {**values.get("images", {}), "worker": {"tag": began["worker"].rpartition(":")[2]}}

    install({**values, "images": worker}, tmp_path, tmp_path / "sapflow-0.9.9.tgz")

    assert job.step < STEPS, "the job was over before the chart was upgraded"
    later = Job.apply(namespace, {**DIGITS, "metadata": {"name": "later"}})
    later.until_step(1)
    assert later.status["images"]["driver"].endswith(f":{NEXT}")
    assert all(image.endswith(f":{NEXT}") for image in images_of(later, "driver"))
    seen = job.until_succeeded()
    assert seen["images"] == began
    assert driver_uids(job) == driver
    assert later.until_succeeded()["result"]["sha256"] == seen["result"]["sha256"]


@pytest.mark.parametrize("operator", ["alive", "dead"])
def test_uninstalled_with_kept_crds_jobs_stay_and_running_drivers_finish(
    with_store_elsewhere: dict[str, Any], namespace: str, tmp_path: Path, operator: str
) -> None:
    installed, _ = on_its_own_store(with_store_elsewhere)
    install(installed, tmp_path)
    job = Job.apply(namespace, DIGITS)
    job.until_step(10)
    if operator == "dead":
        kill_operator()

    helm("uninstall", RELEASE, "-n", SYSTEM, "--wait", "--timeout", "8m")

    assert not job.read()["metadata"].get("finalizers")
    assert step_of(job.status) < STEPS, "the job was over before the chart was gone"
    wait_until(lambda: step_of(job.status) == STEPS, "the last step of a driver without an operator", 300)
    wait_until(
        lambda: [pod["status"]["phase"] for pod in job.pods("driver")] == ["Succeeded"],
        "the driver's end",
        60,
    )

    install(installed, tmp_path)
    seen = job.until_succeeded()
    assert seen["result"]["uri"].startswith("s3://")
    job.delete()
    wait_until(lambda: not job.children(), "a namespace without its children", 90)


@pytest.mark.parametrize("operator", ["alive", "dead"])
def test_uninstalled_with_its_crds_nothing_is_left_but_results(
    with_store_elsewhere: dict[str, Any],
    namespace: str,
    another_namespace: str,
    tmp_path: Path,
    operator: str,
) -> None:
    installed, store = on_its_own_store(with_store_elsewhere, crds={"keep": False})
    install(installed, tmp_path)
    short = {**DIGITS, "spec": {**DIGITS["spec"], "algorithm": {"steps": 3}}}
    finished, running = Job.apply(another_namespace, short), Job.apply(namespace, DIGITS)
    uids = [job.read()["metadata"]["uid"] for job in (finished, running)]
    finished.until_succeeded()
    running.until_step(5)
    if operator == "dead":
        kill_operator()

    helm("uninstall", RELEASE, "-n", SYSTEM, "--wait", "--timeout", "8m")

    assert run_kubectl("get", "crd", CRD).returncode != 0
    for job in (finished, running):
        wait_until(lambda job=job: not job.children(), "a namespace without a job's children", 120)  # type: ignore[misc]
    left = kubectl("get", "all,secrets,configmaps,roles,rolebindings", "-n", SYSTEM, "-o", "json")
    ours = [
        f"{each['kind']}/{each['metadata']['name']}"
        for each in json.loads(left)["items"]
        if each["metadata"]["name"].startswith(RELEASE)
    ]
    assert not ours
    cluster_wide = kubectl(
        "get", "clusterroles,clusterrolebindings,validatingadmissionpolicies", "-o", "name"
    )
    assert "sapflow" not in cluster_wide
    kept = {entry.object_name for entry in store.list_objects("sapflow", "jobs/", recursive=True)}
    assert any(name.startswith(f"jobs/{uids[0]}/result/") for name in kept)
    parts = {(name.split("/")[1], name.split("/")[2]) for name in kept if name.split("/")[1] in uids}
    assert {part for _, part in parts} <= {
        "result",
        "checkpoints",
        "params",
        "optimizer",
        "plans",
        "spec.json",
        "commits",
    }, parts
