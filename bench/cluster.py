"""`python -m bench.cluster [row …]`: measures jobs on the cluster that KUBECONFIG names, with Sapflow installed.

Function images must be on the nodes already. The machine should do nothing else. A full run takes half an hour, most
of it waiting for functions to go to zero between cold starts.
"""

import argparse
import json
import re
import statistics
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers.embedded import embedded_pod
from helpers.kube import (
    ONE_CPU,
    SYSTEM,
    Job,
    finished,
    forwarded,
    kubectl,
    namespace_of_its_own,
    owned_store,
    read,
    wait_until,
)

from bench import cold, service_starts
from bench.anatomy import anatomy
from sapflow.objects import keys
from sapflow.records.commits import Commit
from sapflow.spec.labels import selector
from sapflow.spec.training_job import API_VERSION, KIND

CPUS: tuple[tuple[str, dict[str, str] | None], ...] = (
    ("default CPU", None),
    ("CPU by memory", {"policy": "ByMemory"}),
)
SETTLE = 60
"""Number of steps at the start of a job that are not counted, because instances still start."""
Line = tuple[str, str, str]
"""What, figure, goal."""


def seconds(values: Sequence[float]) -> str:
    ordered = sorted(values)
    p95 = ordered[round(0.95 * (len(ordered) - 1))]
    return f"p50 {statistics.median(ordered):.2f} s, p95 {p95:.2f} s of {len(ordered)}"


def job(name: str, cpu: dict[str, str] | None, steps: int) -> dict[str, Any]:
    """Case A's MLP with 4 workers in one merge."""
    spec: dict[str, Any] = {
        "model": {"name": "mlp", "args": {"hidden": [100] * 5}},
        "data": {"source": "synthetic:binary", "options": {"samples": 100_000}, "batchSize": 1_000},
        "workers": 4,
        "algorithm": {"steps": steps, "seed": 0},
        "optimizer": {"name": "Momentum", "learningRate": 0.1, "momentum": 0.9},
        "merge": {"structure": [1, 4], "shards": 1},
        "evaluation": {"everySteps": steps},
        "memory": {"worker": "512Mi", "merger": "128Mi"},
    }
    if cpu is not None:
        spec["cpu"] = cpu
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}


def cold_starts(given: argparse.Namespace) -> Iterator[Line]:
    """The time from a call without an instance to its answer. With a window of 6 s functions go to zero in between."""
    goals = {"merger": "p50 ≤ 1.5 s", "worker": "p50 ≤ 2.5 s"}
    for (label, role), values in cold.starts(dict(CPUS), given.rounds).items():
        yield f"cold start of a {role}, {label}", seconds(values), goals[role] if label == CPUS[0][0] else "—"


def first_step(given: argparse.Namespace) -> Iterator[Line]:
    """The time from `kubectl apply` until the driver logs that step 1 is committed."""
    for label, cpu in CPUS:
        values = []
        for _ in range(given.jobs):
            with namespace_of_its_own("bench") as namespace:
                began = time.time()
                applied = Job.apply(namespace, job("first", cpu, 3))
                applied.until_succeeded()
                values.append(first_commit(applied) - began)
                applied.delete()
                wait_until(lambda seen=applied: not seen.pods(), "no pods", 120)  # type: ignore[misc]
        yield (
            f"kubectl apply to the first committed step, 4 workers, {label}",
            seconds(values),
            "≤ 7 s" if cpu is None else "—",
        )


def first_commit(applied: Job) -> float:
    """The Unix time at which step 1 was committed, from the driver's log."""
    log = kubectl("logs", "-n", applied.namespace, "-l", selector(applied.name, "driver"), "--tail=-1")
    events = [json.loads(line) for line in log.splitlines()]
    (first,) = [each for each in events if each["event"] == "step" and each["step"] == 1]
    return datetime.fromisoformat(first["time"]).timestamp()


def step(given: argparse.Namespace) -> Iterator[Line]:
    """The time between two commits on Knative, and on the embedded runtime in one container of the same image."""
    for label, cpu in CPUS:
        with namespace_of_its_own("bench") as namespace:
            document = job("warm", cpu, given.steps)
            knative = Job.apply(namespace, document)
            seen = knative.watched_until_succeeded(900)
            ended = time.time()
            wait_until(lambda job=knative: not job.pods("worker") + job.pods("merger"), "zero", 180)  # type: ignore[misc]
            to_zero = time.time() - ended
            ours = commits(knative, given.steps)[SETTLE:]
            out = embedded_pod(
                namespace, seen["images"]["worker"], document, "cat /tmp/store/jobs/*/commits/*.json"
            )
            theirs = sorted(embedded_commits(out), key=lambda each: each.version)[SETTLE:]
            knative_ms, embedded_ms = (1000 * step_seconds(each) for each in (ours, theirs))
            figure = f"{knative_ms:.0f} ms, embedded {embedded_ms:.0f} ms: {knative_ms - embedded_ms:+.0f} ms"
            yield f"warm step, case A's MLP, 4 workers, {label}", figure, "≤ +20 ms" if cpu is None else "—"
            for name, each in (("Knative", ours), ("embedded", theirs)):
                yield f"of it, the slowest worker's call and the root's, {name}, {label}", anatomy(each), "—"
            yield f"functions at zero after the end, {label}", f"{to_zero:.0f} s", "—"


def embedded_commits(out: str) -> Iterator[Commit]:
    """The commits in a pod's output: JSON objects, one after another."""
    decoder, at = json.JSONDecoder(), out.find("{")
    while at >= 0:
        found, end = decoder.raw_decode(out, at)
        if "version" in found and "plan" in found:
            yield Commit.model_validate(found)
        at = out.find("{", end)


def commits(applied: Job, steps: int) -> list[Commit]:
    """All commits of a job, including that of version 0."""
    uid = applied.read()["metadata"]["uid"]
    with owned_store() as store:
        found = (store.read(keys.commit(keys.job(uid), version)) for version in range(steps + 1))
        return [Commit.model_validate_json(bytes(each)) for each in found]


def step_seconds(made: Sequence[Commit]) -> float:
    """The median time between two commits."""
    return statistics.median(
        after.account.seconds - before.account.seconds for before, after in pairwise(made)
    )


def operator(given: argparse.Namespace) -> Iterator[Line]:
    """The operator's memory with finished jobs: refused ones, all at once, and successful ones, ten at a time."""
    refused = {"limits": {"invocationSeconds": 86_000}}
    small = {
        "model": {"name": "mlp", "args": {"hidden": [16]}},
        "data": {"source": "synthetic:binary", "options": {"samples": 500}, "batchSize": 32},
        "workers": 1,
        "algorithm": {"steps": 3},
        "merge": {"structure": [1, 1], "shards": 1},
        "memory": {"worker": "384Mi", "merger": "128Mi"},
        "cpu": ONE_CPU,
    }
    for label, changes in (("refused at once", refused), ("that ran", small)):
        with namespace_of_its_own("bench") as namespace:
            documents = [job(f"job-{number}", None, 1) for number in range(50)]
            items = [{**each, "spec": each["spec"] | changes} for each in documents]
            text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
            kubectl("apply", "-n", namespace, "-f", "-", text=text)
            wait_until(lambda seen=namespace: _all_finished(seen), "all", 1500)  # type: ignore[misc]
            # Knative drains pods for half a minute, and each deleted pod is an event.
            time.sleep(90)
            with forwarded(SYSTEM, "deploy/sapflow-operator", 9090) as port:
                before, began = _own(port), time.monotonic()
                time.sleep(given.idle)
                after, lasted = _own(port), time.monotonic() - began
            cpu = (after["process_cpu_seconds_total"] - before["process_cpu_seconds_total"]) / lasted
            memory = f"{after['process_resident_memory_bytes'] / 2**20:.0f} MiB"
            yield f"operator's memory, 50 finished jobs {label}", memory, "< 80 MiB"
            yield f"operator's CPU, 50 finished jobs {label}", f"{100 * cpu:.2f} % of a core", "< 1 %"


def _all_finished(namespace: str) -> bool:
    return all(finished(each.get("status", {})) for each in read("tj", "-n", namespace)["items"])


def _own(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        text = response.read().decode()
    return {name: float(value) for name, value in re.findall(r"^(process_\w+) (\S+)$", text, re.MULTILINE)}


def service(given: argparse.Namespace) -> Iterator[Line]:
    """The time from a request that finds no pod of a ModelService to its decision, and what such requests get."""
    found = service_starts.starts(given.rounds)
    merger, server = (statistics.median(found[name]) for name in ("merger", "server"))
    yield "cold start of a merger, beside the next row", seconds(found["merger"]), "—"
    yield (
        "first decision of a ModelService after zero, no torch",
        seconds(found["server"]),
        "≤ the merger's + 0.4 s",
    )
    yield "difference of the medians", f"{server - merger:+.2f} s", "≤ +0.4 s"
    statuses = service_starts.first_requests(10, given.tries)
    shown = ", ".join(f"{count} × {status}" for status, count in sorted(statuses.items()))
    yield f"first requests after zero, {statuses.total()} tries, 10 services at once", shown, "200 alone"


ROWS: dict[str, Callable[[argparse.Namespace], Iterator[Line]]] = {
    "first-step": first_step,
    "step": step,
    "operator": operator,
    "cold": cold_starts,
    "service": service,
}


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.cluster", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="row", help=f"one of {', '.join(ROWS)}; none: all")
    parser.add_argument("--rounds", type=int, default=20, help="cold starts of each role")
    parser.add_argument("--tries", type=int, default=10, help="first requests of each of ten services")
    parser.add_argument("--jobs", type=int, default=5, help="jobs for the first step")
    parser.add_argument("--steps", type=int, default=300, help="of a job whose warm steps are measured")
    parser.add_argument("--idle", type=int, default=60, help="seconds that the operator is watched")
    given = parser.parse_args()
    names = given.rows or list(ROWS)
    if unknown := [name for name in names if name not in ROWS]:
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(ROWS)}")
    table = Table("what", "figure", "to reach", title=f"on the cluster, {datetime.now():%Y-%m-%d}")
    for name in names:
        for line in ROWS[name](given):
            print(" | ".join(line), file=sys.stderr, flush=True)
            table.add_row(*line)
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
