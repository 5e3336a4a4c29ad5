"""Finds Sapflow's container in a pod, and whether it has a log yet."""

from sapflow.client.cluster import SIDECAR, Object


def container_of(pod: Object) -> str:
    """The container that runs Sapflow's own code."""
    names = [str(each["name"]) for each in pod["spec"]["containers"]]
    return next((name for name in names if name != SIDECAR), names[0])


def started(pod: Object) -> bool:
    """Whether Sapflow's container has run; only then it has a log."""
    wanted = container_of(pod)
    for each in pod.get("status", {}).get("containerStatuses", ()):
        if each["name"] == wanted:
            state = each.get("state", {})
            return "running" in state or "terminated" in state or bool(each.get("lastState"))
    return False


def ended(pod: Object) -> bool:
    """Whether the pod has ended, so that nothing more is written."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
