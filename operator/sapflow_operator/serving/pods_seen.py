"""What pods of a ModelService and its Knative Service say of revisions. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from sapflow_operator import names
from sapflow_operator.knative_conditions import condition
from sapflow_operator.observed import FUNCTION_CONTAINER, has_ended
from sapflow_operator.serving.rollout import Failure, Seen

Object = Mapping[str, Any]
_STARTING = ("ContainerCreating", "PodInitializing", "CrashLoopBackOff")
_WAITED_FOR = ("StoreUnavailable",)
"""What a process says that a later one may not."""


def seen(service: Object | None, pods: Iterable[Object]) -> Seen:
    """What is seen of the revisions of a Service, without counts."""
    failures: dict[str, Failure] = {}
    ready: set[str] = set()
    crashes: dict[str, Failure] = {}
    for pod in pods:
        revision = pod["metadata"].get("labels", {}).get(names.KNATIVE_REVISION, "")
        if not revision or "deletionTimestamp" in pod["metadata"]:
            continue
        container = _container(pod)
        crash = _crash(container)
        if crash is not None:
            crashes[revision] = _worse(crashes.get(revision), crash)
        if container.get("ready"):
            ready.add(revision)
        failure = None if container.get("ready") else crash or _waiting(pod, container)
        if failure is not None:
            failures[revision] = _worse(failures.get(revision), failure)
    status = {} if service is None else service.get("status", {})
    latest = status.get("latestCreatedRevisionName", "")
    configured = condition(service, "ConfigurationsReady")
    if latest and configured.get("status") == "False" and latest not in failures:
        message = configured.get("message", "")
        failures[latest] = Failure(configured.get("reason", "RevisionFailed"), message, final=False)
    current = status.get("observedGeneration") == (service or {}).get("metadata", {}).get("generation")
    latest_ready = status.get("latestReadyRevisionName", "") if current else ""
    return Seen(latest_ready, failures, crashes, frozenset(ready))


def answering(pods: Iterable[Object]) -> list[Object]:
    """The pods whose process answers, and may be asked for its metrics."""
    return [
        pod
        for pod in pods
        if not has_ended(pod) and _container(pod).get("ready") and pod.get("status", {}).get("podIP")
    ]


def _worse(one: Failure | None, other: Failure) -> Failure:
    """Of two failures the one that waiting does not help."""
    return one if one is not None and (one.final or not other.final) else other


def _container(pod: Object) -> Object:
    statuses = pod.get("status", {}).get("containerStatuses", ())
    return next((each for each in statuses if each["name"] == FUNCTION_CONTAINER), {})


def _crash(container: Object) -> Failure | None:
    """Why the process of a container has ended; None if it has not, or was told to."""
    for state in (container.get("state", {}), container.get("lastState", {})):
        ended = state.get("terminated")
        if not ended or not ended.get("exitCode"):
            continue
        if ended.get("reason") == "OOMKilled":
            return Failure(
                "OOMKilled", "a process was killed over its memory limit: raise spec.resources.memory"
            )
        text = ended.get("message", "").strip()
        reason, colon, message = text.partition(": ")
        if not colon or not reason.isalpha():
            reason, message = "ProcessEnded", text or f"a process ended with exit code {ended['exitCode']}"
        return Failure(reason, message[-1024:], final=reason not in _WAITED_FOR)
    return None


def _waiting(pod: Object, container: Object) -> Failure | None:
    """Why a pod does not start: it may yet."""
    for each in pod.get("status", {}).get("conditions", ()):
        if each["type"] == "PodScheduled" and each.get("reason") == "Unschedulable":
            return Failure("Unschedulable", each.get("message", "no node has room for it"), final=False)
    waiting = container.get("state", {}).get("waiting", {})
    reason = waiting.get("reason")
    if not reason or reason in _STARTING:
        return None
    return Failure(str(reason), waiting.get("message", ""), final=False)
