"""Descriptions of a cluster's TrainingJob for people and machines. Pure; objects are those of the API server."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sapflow.monitoring.display import Event, forecast_line
from sapflow.quantities.metric import in_words
from sapflow.quantities.prices import PRICES
from sapflow.quantities.roles import ALL_ROLES
from sapflow.records.evaluations import PLAIN, chosen_in_words, of_held_out
from sapflow.spec import labels
from sapflow.spec.training_job import KIND
from sapflow.text import count, dollars, duration, percent, printable

Object = Mapping[str, Any]

SUCCEEDED = "Succeeded"
ROLES = ("driver", *ALL_ROLES)
"""Of a job's pods."""
MOST_WARNINGS = 5
_QUIET = {"Finished", "Deploying", "Suspended", "Resumed"}
"""Reasons that add nothing to the job's own state."""


def condition(job: Object, type: str) -> dict[str, Any]:
    """A condition; empty if it is not set yet."""
    return next((dict(each) for each in conditions(job) if each["type"] == type), {})


def conditions(job: Object) -> list[dict[str, Any]]:
    return [dict(each) for each in job.get("status", {}).get("conditions", ())]


def finished(job: Object) -> bool:
    return condition(job, SUCCEEDED).get("status") in ("True", "False")


def state(job: Object) -> str:
    """The state of a job: Succeeded, Failed, or the reason why it is neither yet (Running, Queued, Suspended …)."""
    found = condition(job, SUCCEEDED)
    match found.get("status"):
        case "True":
            return "Succeeded"
        case "False":
            return "Failed"
        case _:
            return str(found.get("reason") or "Pending")


def troubles(job: Object) -> list[dict[str, Any]]:
    """Conditions other than Succeeded that report a problem."""
    return [
        each
        for each in conditions(job)
        if each["type"] not in (SUCCEEDED, "Suspended")
        and each["status"] != "True"
        and each["reason"] not in _QUIET
    ]


def unit(job: Object) -> str:
    """The unit of the job's progress."""
    mode = job.get("spec", {}).get("algorithm", {}).get("mode")
    return "contribution" if mode == "Async" else "step"


def levels(job: Object) -> list[int] | None:
    """The job's merge tree, root first; None if it is not known yet."""
    said: list[int] | None = job.get("status", {}).get("progress", {}).get("structure")
    return said or job.get("spec", {}).get("merge", {}).get("structure")


def progress_event(job: Object) -> Event | None:
    """The job's progress as an event for displays; None before its length is known."""
    progress = job.get("status", {}).get("progress", {})
    if "steps" not in progress:
        return None
    found = {
        "event": "progress",
        "unit": unit(job),
        "done": progress.get("step", 0),
        "total": progress["steps"],
        "loss": progress.get("loss"),
        "accuracy": progress.get("accuracy"),
        "validationLoss": progress.get("validationLoss"),
        "validationAccuracy": progress.get("validationAccuracy"),
        "validationMetrics": progress.get("validationMetrics"),
        "secondsPerStep": progress.get("secondsPerStep"),
        "secondsLeft": progress.get("estimatedSecondsLeft"),
        "costUSD": progress.get("costUSD"),
        "structure": progress.get("structure"),
    }
    return {name: value for name, value in found.items() if value is not None}


def pod_state(pod: Object) -> str:
    """The state of a pod: running, pending, ending, succeeded or failed, or another reason (CrashLoopBackOff …)."""
    if pod["metadata"].get("deletionTimestamp"):
        return "ending"
    status = pod.get("status", {})
    for each in status.get("containerStatuses", ()):
        reason = each.get("state", {}).get("waiting", {}).get("reason", "ContainerCreating")
        if reason not in ("ContainerCreating", "PodInitializing"):
            return str(reason)
    for each in status.get("conditions", ()):
        if each.get("type") == "PodScheduled" and each.get("reason") == "Unschedulable":
            return "Unschedulable"
    return str(status.get("phase", "Pending")).lower()


def role_of(pod: Object) -> str:
    return str(pod["metadata"].get("labels", {}).get(labels.ROLE, ""))


def event_time(event: Object) -> str:
    """When an event was last seen, in RFC 3339, which sorts as text."""
    found = event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp")
    return str(found or "")


def describe(
    job: Object, pods: Sequence[Object] | None, events: Sequence[Object] | None, now: datetime
) -> dict[str, Any]:
    """A full description of a job as a JSON value. `pods` or `events` are None if the user may not see them."""
    status, spec = job.get("status", {}), job.get("spec", {})
    body = described(job, pods, events, now)
    body |= {
        "unit": unit(job),
        "workers": spec.get("workers"),
        "prices": spec.get("prices", {}).get("platform"),
    }
    for name in ("placement", "progress", "result"):
        if name in status:
            body[name] = status[name]
    if (tree := levels(job)) is not None:
        body["structure"] = list(tree)
    if memory := status.get("memory") or status.get("progress", {}).get("memory") or spec.get("memory"):
        body["memory"] = {role: memory[role] for role in ALL_ROLES if role in memory}
    if spec.get("memory", {}).get("optimize"):
        body["search"] = _search(spec["memory"]["optimize"], status)
    return body


def described(
    job: Object, pods: Sequence[Object] | None, events: Sequence[Object] | None, now: datetime
) -> dict[str, Any]:
    """The part of `describe` that is the same for jobs and searches."""
    status, said = job.get("status", {}), condition(job, SUCCEEDED)
    body: dict[str, Any] = {
        "job": job["metadata"]["name"],
        "kind": job.get("kind", KIND),
        "namespace": job["metadata"]["namespace"],
        "uid": job["metadata"]["uid"],
        "state": state(job),
        "reason": said.get("reason", ""),
        "message": said.get("message", ""),
        "conditions": conditions(job),
    }
    for name in ("startTime", "completionTime"):
        if name in status:
            body[name] = status[name]
    if "startTime" in status:
        ended = _time(status["completionTime"]) if "completionTime" in status else now
        body["seconds"] = max(0.0, (ended - _time(status["startTime"])).total_seconds())
    if pods is not None:
        body["pods"] = _pods(pods)
    if events is not None:
        body["warnings"] = _warnings(events)
    return body


def _search(asked: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
    """The search for the workers' memory size: its goal, its trials, and whether it continues."""
    memory = status.get("progress", {}).get("memory", {})
    found = {"goal": asked.get("goal", "Cost"), "searching": memory.get("searching", True)}
    if killed := status.get("memory", {}).get("workerKilled"):
        found["killed"] = killed
    return {**found, "trials": memory.get("trials", [])}


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _pods(pods: Sequence[Object]) -> dict[str, dict[str, int]]:
    counts = Counter((role_of(pod), pod_state(pod)) for pod in pods)
    return {
        role: {state: number for (of, state), number in sorted(counts.items()) if of == role}
        for role in ROLES
        if any(of == role for of, _ in counts)
    }


def _warnings(events: Sequence[Object]) -> list[dict[str, Any]]:
    found = [each for each in events if each.get("type") == "Warning"][-MOST_WARNINGS:]
    return [
        {
            "time": event_time(each),
            "reason": each.get("reason", ""),
            "message": each.get("message", ""),
            "count": each.get("count") or 1,
        }
        for each in found
    ]


def lines(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The description of `describe` as text: (label, value) pairs."""
    found = state_lines(body)
    found += preparation_lines(body)
    found += _progress_lines(body)
    if "structure" in body:
        found.append(("structure", str(body["structure"])))
    if "placement" in body:
        found.append(("cells", _cells(body["placement"])))
    if "memory" in body:
        found.append(("memory", ", ".join(f"{role} {size}" for role, size in body["memory"].items())))
    found += _search_lines(body)
    found += pods_lines(body)
    found += _result_lines(body)
    found += warning_lines(body)
    return [(name, " ".join(printable(value).split("\n"))) for name, value in found]


def state_lines(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """State, and what is said of it and of problems."""
    found = [("state", body["state"])]
    if body["message"] and body["state"] != "Succeeded":
        reason = "" if body["reason"] in ("", body["state"]) else f"{body['reason']}: "
        found.append(("", f"{reason}{body['message']}"))
    return found + [
        (each["type"], f"{each['reason']}: {each['message']}") for each in troubles({"status": body})
    ]


def preparation_lines(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How far the preparation of raw data is, or what it came to."""
    so_far = body.get("progress", {}).get("preparation")
    if not so_far:
        return []
    parts = []
    if "partitions" in so_far:
        parts.append(f"{so_far.get('partitionsDone', 0):,} of {count(so_far['partitions'], 'partition')}")
    parts.append(f"{count(so_far.get('rows', 0), 'row')}, {so_far.get('rejectedRows', 0):,} bad")
    stage = f"{so_far['stage']}: " if "stage" in so_far else ""
    return [("preparation", stage + ", ".join(parts))]


def pods_lines(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How many pods there are of each role, by state."""
    return [
        (f"{role} pods", ", ".join(f"{number} {state}" for state, number in counts.items()))
        for role, counts in body.get("pods", {}).items()
    ]


def warning_lines(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The last events that are warnings."""
    found = []
    for each in body.get("warnings", ()):
        times = f" ({each['count']} times)" if each["count"] > 1 else ""
        found.append(("warning", f"{each['time']} {each['reason']}: {each['message']}{times}"))
    return found


def _cells(placement: Mapping[str, Any]) -> str:
    """The number of cells and their nodes, as far as they are known."""
    by_node: dict[str, list[str]] = {}
    for each in placement.get("nodes", ()):
        by_node.setdefault(each["node"], []).append(str(each["cell"]))
    where = "; ".join(f"{', '.join(cells)} on {node}" for node, cells in by_node.items())
    return f"{placement['cells']}{f': {where}' if where else ''}"


def _progress_lines(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    progress, found = body.get("progress", {}), []
    if "steps" in progress:
        found.append((f"{body['unit']}s", _position(progress)))
    training = {name: progress[name] for name in PLAIN if name in progress}
    for name, values in (("training", training), ("validation", of_held_out(progress))):
        if values:
            found.append((name, in_words(values)))
    if "seconds" in body:
        each = (
            f", {duration(progress['secondsPerStep'])} a {body['unit']}"
            if "secondsPerStep" in progress
            else ""
        )
        left = progress.get("estimatedSecondsLeft")
        left = f", {duration(left)} left" if left and "completionTime" not in body else ""
        found.append(("time", f"{duration(body['seconds'])}{each}{left}"))
    if "costUSD" in progress:
        platform = body["prices"]
        at = (
            f" at {PRICES[platform].name if platform in PRICES else f'{platform} prices'}" if platform else ""
        )
        found.append(("cost", f"{dollars(progress['costUSD'])}{at}"))
    if "forecastSeconds" in progress:
        found.append(("forecast", _forecast(progress)))
    return found


def _forecast(progress: Mapping[str, Any]) -> str:
    names = ("seconds", "costUSD", "secondsError", "costError")
    fields = ("forecastSeconds", "forecastCostUSD", "forecastSecondsError", "forecastCostError")
    said = {name: progress[field] for name, field in zip(names, fields, strict=True) if field in progress}
    return forecast_line(said)


def _position(progress: Mapping[str, Any]) -> str:
    epoch = f", epoch {progress['epoch']:,}" if "epoch" in progress else ""
    share = f" ({progress['percent']:g} %)" if "percent" in progress else ""
    return f"{progress.get('step', 0):,} of {progress['steps']:,}{share}{epoch}"


def _search_lines(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    search = body.get("search")
    if search is None:
        return []
    state = "looks for" if search["searching"] else "has looked for"
    goal = "the least cost of a step" if search["goal"] == "Cost" else "the most steps per second and dollar"
    killed = f"; killed with {search['killed']}" if "killed" in search else ""
    found = [("optimize", f"{state} {goal}{killed}")]
    for each in search["trials"]:
        figures = f"{duration(each['secondsPerStep'])}, {dollars(each['costUSD'])} a step"
        found.append(("", f"{each['worker']} to step {each['step']:,}: {figures}"))
    return found


def _result_lines(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    result = body.get("result")
    if result is None:
        return []
    reached = f", {why}" if (why := chosen_in_words(result)) else ""
    return [
        ("result", f"version {result.get('version', 0):,}{reached}"),
        ("model", result["uri"]),
        ("SHA-256", result["sha256"]),
    ]


def table(jobs: Sequence[Mapping[str, Any]], *, namespaces: bool) -> list[str]:
    """A table of jobs that `describe` described, one job a line, with a heading."""
    heading = ["NAMESPACE"] if namespaces else []
    rows = [[*heading, "NAME", "STATE", "PROGRESS", "LOSS", "ACCURACY", "COST"]]
    for body in jobs:
        progress = body.get("progress", {})
        accuracy = progress.get("validationAccuracy", progress.get("accuracy"))
        failed = f": {body['reason']}" if body["state"] == "Failed" else ""
        rows.append(
            [
                *([body["namespace"]] if namespaces else []),
                body["job"],
                f"{body['state']}{failed}",
                f"{progress.get('step', 0):,}/{progress['steps']:,}" if "steps" in progress else "-",
                f"{progress['loss']:.4f}" if "loss" in progress else "-",
                "-" if accuracy is None else percent(accuracy),
                dollars(progress["costUSD"]) if "costUSD" in progress else "-",
            ]
        )
    return columns(rows)


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows as lines, whose cells lie below one another."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
