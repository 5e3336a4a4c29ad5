"""Descriptions of a cluster's TuningJob for people and machines. Pure; objects are those of the API server."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sapflow.client import cluster_job
from sapflow.client.cluster_job import Object
from sapflow.monitoring.display import Event
from sapflow.monitoring.tuning_display import in_short, value_text
from sapflow.spec import search_limits
from sapflow.spec.trial_names import TrialName
from sapflow.text import dollars, duration, printable

_COUNTS = ("finished", "pruned", "failed", "paused", "running")
SHOWN_CHARACTERS = 120
"""Of the parameters of a trial in a line."""


def finished(search: Object) -> bool:
    """Whether a search has ended and no limit was raised since."""
    reopened = search_limits.raised(search.get("status", {}).get("limits", {}), search.get("spec", {}))
    return cluster_job.finished(search) and not reopened


def parameters_of(texts: Mapping[str, str]) -> dict[str, Any]:
    """Parameters by path from the JSON texts of a status or an object; one that was cut stays a text."""
    found: dict[str, Any] = {}
    for path, said in texts.items():
        try:
            found[path] = json.loads(said)
        except ValueError:
            found[path] = said
    return found


def progress_event(search: Object) -> Event | None:
    """The search's progress as an event for displays; None before its driver's first report."""
    progress = search.get("status", {}).get("progress", {})
    if "done" not in progress:
        return None
    names = (
        "running",
        "paused",
        "finished",
        "pruned",
        "failed",
        "costUSD",
        "budgetUSD",
        "callsInFlight",
        "maxWorkers",
    )
    found: Event = {
        "event": "trials",
        "metric": metric(search),
        "ended": progress["done"],
        "most": progress.get("maxTrials"),
        **{name: progress.get(name) for name in names},
    }
    if "best" in progress:
        found["best"] = standing(progress["best"])
    if "top" in progress:
        found["top"] = [standing(each) for each in progress["top"]]
    return {name: value for name, value in found.items() if value is not None}


def standing(trial: Mapping[str, Any]) -> dict[str, Any]:
    """A trial of the status, with its parameters as values."""
    found = dict(trial)
    if "parameters" in found:
        found["parameters"] = parameters_of(found["parameters"])
    return found


def metric(search: Object) -> str:
    """The metric of the first objective."""
    return str(search.get("spec", {}).get("objective", {}).get("metric", "objective"))


def describe(
    search: Object, pods: Sequence[Object] | None, events: Sequence[Object] | None, now: datetime
) -> dict[str, Any]:
    """A full description of a search as a JSON value. `pods` or `events` are None if the user may not see them."""
    status = search.get("status", {})
    body = cluster_job.described(search, pods, events, now)
    body |= {"metric": metric(search), "maxWorkers": search.get("spec", {}).get("maxWorkers")}
    if "progress" in status:
        progress = dict(status["progress"])
        if "best" in progress:
            progress["best"] = standing(progress["best"])
        body["progress"] = progress | {"top": [standing(each) for each in progress.get("top", ())]}
    if "result" in status:
        body["result"] = standing(status["result"])
    return body


def lines(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The description of `describe` as text: (label, value) pairs."""
    found = cluster_job.state_lines(body) + cluster_job.preparation_lines(body)
    progress, result = body.get("progress", {}), body.get("result", {})
    if "done" in progress:
        found.append(("trials", trials_in_words(progress)))
    best = result if "trial" in result else progress.get("best", {})
    if "trial" in best:
        value = value_text(body["metric"], best.get("objective"))
        found.append(("best trial", f"{best['trial']:,}, {body['metric']} {value}"))
        if "parameters" in best:
            found.append(("parameters", in_short(best["parameters"])))
    if "seconds" in body:
        found.append(("time", duration(body["seconds"])))
    if "costUSD" in progress:
        of = f" of {dollars(progress['budgetUSD'])}" if "budgetUSD" in progress else ""
        found.append(("cost", f"{dollars(progress['costUSD'])}{of}"))
    for each in progress.get("failures", ()):
        found.append(("failed", f"trial {each['trial']:,}: {each.get('reason')}: {each.get('message')}"))
    found += cluster_job.pods_lines(body)
    if "uri" in result:
        found += [("model", result["uri"]), ("SHA-256", result["sha256"])]
    found += cluster_job.warning_lines(body)
    return [(name, " ".join(printable(value).split("\n"))) for name, value in found]


def best(search: Object) -> int | None:
    """The number of the best trial of all, however many there are; None if no trial has a value. The result is that of
    the last end: a search that goes on after it may have found a better one."""
    status = search.get("status", {})
    found = status.get("progress", {}).get("best", status.get("result", {})).get("trial")
    return None if found is None else int(found)


def trial(search: Object, found: Object) -> dict[str, Any]:
    """A description of a trial from its object, as a JSON value."""
    metadata, number = search["metadata"], found["spec"]["number"]
    status = {name: value for name, value in found.get("status", {}).items() if name != "parameters"}
    return {
        "job": str(TrialName(metadata["name"], number)),
        "kind": "Trial",
        "namespace": metadata["namespace"],
        "uid": str(TrialName(metadata["uid"], number)),
        "metric": metric(search),
        "parameters": parameters_of(found["spec"].get("parameters", {})),
        **status,
    }


def trial_lines(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The description of `trial` as text: (label, value) pairs."""
    found = [("state", str(body.get("state", "Pending")))]
    if "reason" in body:
        found.append(("", body["reason"]))
    if "objective" in body:
        found.append(("objective", f"{body['metric']} {value_text(body['metric'], body['objective'])}"))
    found.append(("parameters", in_short(body["parameters"])))
    if "step" in body:
        found.append(("trained", f"{body['step']:,}"))
    if "costUSD" in body:
        found.append(("cost", dollars(body["costUSD"])))
    return [(name, " ".join(printable(value).split("\n"))) for name, value in found]


def trials_in_words(progress: Mapping[str, Any]) -> str:
    """How many trials have ended, of how many, and what became of them."""
    most = progress.get("maxTrials", progress.get("most"))
    ended = progress.get("done", progress.get("ended", 0))
    of = f" of {most:,}" if most else ""
    counted = ", ".join(f"{progress[name]:,} {name}" for name in _COUNTS if progress.get(name))
    return f"{ended:,}{of} ended" + (f": {counted}" if counted else "")


def best_in_words(event: Event) -> str:
    """The best trial of a progress event, in a line; '' if none has a value."""
    best = event.get("best")
    if best is None:
        return ""
    parameters = in_short(best.get("parameters", {}), SHOWN_CHARACTERS)
    value = value_text(event["metric"], best.get("objective"))
    return f"best {event['metric']} {value} (trial {best['trial']:,}: {parameters})"


def table(searches: Sequence[Mapping[str, Any]], *, namespaces: bool) -> list[str]:
    """A table of searches that `describe` described, one a line, with a heading."""
    heading = ["NAMESPACE"] if namespaces else []
    rows = [[*heading, "SEARCH", "STATE", "TRIALS", "RUNNING", "BEST", "COST"]]
    for body in searches:
        progress = body.get("progress", {})
        failed = f": {body['reason']}" if body["state"] == "Failed" else ""
        best = progress.get("best", {}).get("objective")
        rows.append(
            [
                *([body["namespace"]] if namespaces else []),
                body["job"],
                f"{body['state']}{failed}",
                progress.get("trials", "-"),
                f"{progress['running']:,}" if "running" in progress else "-",
                "-" if best is None else value_text(body["metric"], best),
                dollars(progress["costUSD"]) if "costUSD" in progress else "-",
            ]
        )
    return cluster_job.columns(rows)
