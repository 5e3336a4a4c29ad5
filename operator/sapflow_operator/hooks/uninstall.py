"""Handles jobs before the chart is uninstalled.

    python3 -m sapflow_operator.hooks.uninstall delete …     their kind is removed: delete all jobs and wait
    python3 -m sapflow_operator.hooks.uninstall release …    they stay: stop the operator, remove our finalizers

Deleting is the operator's work: it ends functions, revokes credentials, removes objects. If no operator is running, one
is started in this pod. Jobs that are left when time is up lose their finalizers, too, and are named. A finalizer that
nobody handles would block the kind, and with it every later installation, forever.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sapflow.errors import SapflowError
from sapflow.kube.blocking import BlockingApiClient
from sapflow.kube.errors import ClusterError
from sapflow.kube.paths import Kind
from sapflow_operator import names
from sapflow_operator.hooks.api import connect, delete

STOP_SECONDS = 60.0
"""How long the operator may take to stop, in seconds."""
ABSENT_SECONDS = 20.0
"""Seconds without an operator after which a stand-in is started. One that was just restarted is back by then."""
_PAUSE = 1.0
_KINDS = {each.kind: Kind(names.API_VERSION, each.plural) for each in (*names.RESOURCES, names.TRIAL)}
_SERVED = tuple(each.kind for each in names.RESOURCES)
_FINALIZERS = (names.FINALIZER, names.TRIAL_FINALIZER)
_PODS = Kind("v1", "pods")
_DEPLOYMENTS = Kind("apps/v1", "deployments")
_STAND_IN = (sys.executable, "-m", "sapflow_operator")


@dataclass(frozen=True, slots=True)
class Operator:
    """The operator's Deployment, and the selector of its pods."""

    namespace: str
    deployment: str
    selector: str


def job_name(job: Mapping[str, Any]) -> str:
    return f"{job['metadata']['namespace']}/{job['metadata']['name']}"


def jobs(api: BlockingApiClient, namespaces: Sequence[str]) -> list[dict[str, Any]]:
    """The resources that the operator serves, in the namespaces, or in the cluster if none are given; none of a kind
    that is gone."""
    return _found(api, namespaces, _SERVED)


def trials(api: BlockingApiClient, namespaces: Sequence[str]) -> list[dict[str, Any]]:
    """The objects of searches' trials; each is deleted with its search, once our finalizer is off."""
    return _found(api, namespaces, [names.TRIAL.kind])


def _found(api: BlockingApiClient, namespaces: Sequence[str], kinds: Sequence[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for kind in kinds:
        paths = _KINDS[kind]
        for namespace in namespaces or (None,):
            try:
                # The objects of a list do not name their kind.
                found += [{**each, "kind": kind} for each in api.objects(paths.path(namespace))]
            except ClusterError as error:
                if error.status != 404:
                    raise
    return found


def path_of(job: Mapping[str, Any]) -> str:
    metadata = job["metadata"]
    return _KINDS[job["kind"]].path(metadata["namespace"], metadata["name"])


def release(api: BlockingApiClient, found: Iterable[Mapping[str, Any]]) -> list[str]:
    """Remove our finalizers from jobs or trials. Returns the names of those that had one."""
    released = []
    for job in found:
        while not set(_FINALIZERS).isdisjoint(held := job["metadata"].get("finalizers") or []):
            kept = [each for each in held if each not in _FINALIZERS]
            version = job["metadata"]["resourceVersion"]
            try:
                api.patch(path_of(job), {"metadata": {"finalizers": kept, "resourceVersion": version}})
            except ClusterError as error:
                if error.status not in (404, 409):
                    raise
                if error.status == 409:
                    job = _again(api, job)
                    continue
            released.append(job_name(job))
            break
    return released


def _again(api: BlockingApiClient, job: Mapping[str, Any]) -> Mapping[str, Any]:
    """The current job, or one without finalizers if it is gone."""
    try:
        return {"kind": job["kind"], **api.read(path_of(job))}
    except ClusterError as error:
        if error.status != 404:
            raise
        return {"kind": job["kind"], "metadata": job["metadata"] | {"finalizers": []}}


def operator_pods(api: BlockingApiClient, operator: Operator, *, ready: bool) -> list[dict[str, Any]]:
    """The operator's pods; with `ready` only those that are ready."""
    pods = api.objects(_PODS.path(operator.namespace), {"labelSelector": operator.selector})
    return [pod for pod in pods if _is_ready(pod)] if ready else pods


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions") or []
    return "deletionTimestamp" not in pod["metadata"] and any(
        each["type"] == "Ready" and each["status"] == "True" for each in conditions
    )


def stop(api: BlockingApiClient, operator: Operator, patience: float = STOP_SECONDS) -> bool:
    """Scale the operator to zero and wait. Returns whether it has stopped."""
    path = _DEPLOYMENTS.path(operator.namespace, operator.deployment, "scale")
    try:
        api.patch(path, {"spec": {"replicas": 0}})
    except ClusterError as error:
        if error.status != 404:
            raise
    ends = time.monotonic() + patience
    while operator_pods(api, operator, ready=False):
        if time.monotonic() > ends:
            return False
        time.sleep(_PAUSE)
    return True


@contextmanager
def stand_in() -> Iterator[None]:
    """Run an operator in this pod."""
    print("no operator is at work: one is started here to clean up", flush=True)
    process = subprocess.Popen(_STAND_IN)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def delete_all(
    api: BlockingApiClient, namespaces: Sequence[str], operator: Operator, patience: float
) -> list[str]:
    """Delete all jobs and wait until the operator has cleaned up. Returns the names of those that are left."""
    ends = time.monotonic() + patience
    absent_until = min(time.monotonic() + ABSENT_SECONDS, ends)
    while _delete(api, namespaces) and not operator_pods(api, operator, ready=True):
        if time.monotonic() > absent_until:
            with stand_in():
                return _wait(api, namespaces, ends)
        time.sleep(_PAUSE)
    return _wait(api, namespaces, ends)


def _delete(api: BlockingApiClient, namespaces: Sequence[str]) -> list[dict[str, Any]]:
    """Request the deletion of all jobs. Returns those that existed."""
    found = jobs(api, namespaces)
    for job in found:
        if "deletionTimestamp" not in job["metadata"]:
            print(f"deleting {job_name(job)}", flush=True)
            delete(api, path_of(job))
    return found


def _wait(api: BlockingApiClient, namespaces: Sequence[str], ends: float) -> list[str]:
    while found := _delete(api, namespaces):
        if time.monotonic() > ends:
            return [job_name(job) for job in found]
        time.sleep(_PAUSE)
    return []


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m sapflow_operator.hooks.uninstall")
    parser.add_argument("mode", choices=["delete", "release"])
    parser.add_argument("--namespace", required=True, help="the operator's")
    parser.add_argument("--operator", required=True, metavar="DEPLOYMENT")
    parser.add_argument("--selector", required=True, help="labels of the operator's pods")
    parser.add_argument("--test-pod", metavar="NAME", help="of `helm test`, which Helm leaves for its log")
    parser.add_argument("--timeout", type=float, default=240.0, metavar="SECONDS")
    given = parser.parse_args(argv)
    operator = Operator(given.namespace, given.operator, given.selector)
    namespaces = [name for name in environ.get("SAPFLOW_NAMESPACES", "").split(",") if name]
    try:
        api = connect(environ)
        if given.test_pod:
            delete(api, _PODS.path(given.namespace, given.test_pod))
        if given.mode == "delete":
            left = delete_all(api, namespaces, operator, given.timeout)
            if left:
                print(f"not gone after {given.timeout:g} s: {', '.join(left)}", flush=True)
        # A running operator would add its finalizer again.
        if not stop(api, operator):
            print(f"{operator.deployment} does not stop; going on", flush=True)
        released = release(api, jobs(api, namespaces))
        release(api, trials(api, namespaces))
    except SapflowError as error:
        print(error, file=sys.stderr)
        return 1
    if released and given.mode == "delete":
        print(
            f"let go without cleaning up: {', '.join(released)}; their objects stay in the store under jobs/<uid>/, "
            "their shared/<digest>/users/<uid> and what that keeps, "
            "and their credentials until they end by themselves"
        )
    elif released:
        print(f"kept, without an operator: {', '.join(released)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
