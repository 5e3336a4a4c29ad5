"""An API server as commands of a user see it: jobs, searches, pods, events, logs and watches, over real HTTP."""

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from helpers.quiet_server import QuietServer

Object = dict[str, Any]
JOBS = "/apis/sapflow.dev/v1alpha1"
CUT = "cut"
"""In a watch or a log: the connection breaks here."""
HOLD = "hold"
"""In a watch: nothing more comes until the server ends."""


def refusal(status: int, message: str, **details: Any) -> tuple[int, Object]:
    """A Status object, as API servers answer."""
    return status, {
        "kind": "Status",
        "status": "Failure",
        "message": message,
        "details": details,
        "code": status,
    }


def not_found(kind: str, name: str) -> tuple[int, Object]:
    return refusal(404, f'{kind} "{name}" not found', name=name, kind=kind)


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    headers: dict[str, str]


@dataclass
class ClusterApi:
    """`jobs`, `searches`, `trials`, `services`, `secrets`, `pods` and `events` by namespace; scripts for what comes in
    time."""

    jobs: dict[tuple[str, str], Object] = field(default_factory=dict)
    searches: dict[tuple[str, str], Object] = field(default_factory=dict)
    trials: dict[tuple[str, str], Object] = field(default_factory=dict)
    services: dict[tuple[str, str], Object] = field(default_factory=dict)
    secrets: dict[tuple[str, str], Object] = field(default_factory=dict)
    pods: dict[str, list[Object]] = field(default_factory=dict)
    events: dict[str, list[Object]] = field(default_factory=dict)
    logs: dict[str, deque[list[str] | tuple[int, Object]]] = field(default_factory=dict)
    """The answers for a pod's log, lines or a refusal; the last one is given again and again."""
    watches: dict[str, deque[list[Any]]] = field(default_factory=dict)
    """The answers for watches of `trainingjobs`, `tuningjobs`, `pods`: changes, CUT, HOLD; none left: an empty one."""
    refusals: deque[tuple[str, tuple[int, Any]]] = field(default_factory=deque)
    """(Text in the path, answer): each is given once, in order, to the requests it fits."""
    asked: list[Asked] = field(default_factory=list)
    url: str = ""
    over: threading.Event = field(default_factory=threading.Event)

    def put(self, job: Object) -> Object:
        metadata, kinds = (
            job["metadata"],
            {
                "TuningJob": self.searches,
                "Trial": self.trials,
                "ModelService": self.services,
            },
        )
        kinds.get(job["kind"], self.jobs)[metadata["namespace"], metadata["name"]] = job
        return job

    def kubeconfig(self, folder: Path, namespace: str = "team") -> Path:
        """A kubeconfig that leads here."""
        path = folder / "kubeconfig"
        body = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "one", "cluster": {"server": self.url}}],
            "users": [{"name": "me", "user": {"token": "my-token"}}],
            "contexts": [
                {"name": "here", "context": {"cluster": "one", "user": "me", "namespace": namespace}},
                {"name": "other", "context": {"cluster": "one", "user": "me", "namespace": "elsewhere"}},
            ],
        }
        path.write_text(json.dumps(body))
        return path

    def answer(self, asked: Asked) -> tuple[int, Any]:
        """Status and body: an object, or a list of what is streamed."""
        self.asked.append(asked)
        for index, (text, refused) in enumerate(self.refusals):
            if text in asked.path:
                del self.refusals[index]
                return refused
        parts = asked.path.strip("/").split("/")
        namespace = parts[parts.index("namespaces") + 1] if "namespaces" in parts else None
        if asked.query.get("watch", "").lower() == "true":
            script = self.watches.get(parts[-1], deque())
            return 200, script.popleft() if script else []
        if parts[-1] == "log":
            answers = self.logs[parts[-2]]
            answer = answers.popleft() if len(answers) > 1 else answers[0]
            return answer if isinstance(answer, tuple) else (200, answer)
        if asked.path.startswith(JOBS):
            return self._jobs(asked, namespace, parts)
        if parts[-2] == "secrets":
            secret = self.secrets.get((namespace or "", parts[-1]))
            return not_found("secrets", parts[-1]) if secret is None else (200, secret)
        found = {"pods": self.pods, "events": self.events}.get(parts[-1])
        if found is not None:
            return 200, _list(found.get(namespace or "", []))
        for pod in self.pods.get(namespace or "", []):
            if pod["metadata"]["name"] == parts[-1]:
                return 200, pod
        return not_found(parts[-2], parts[-1])

    def _jobs(self, asked: Asked, namespace: str | None, parts: list[str]) -> tuple[int, Any]:
        kinds = {
            "trainingjobs": self.jobs,
            "tuningjobs": self.searches,
            "trials": self.trials,
            "modelservices": self.services,
        }
        plural = next(each for each in kinds if each in parts)
        objects = kinds[plural]
        if parts[-1] == plural:
            wanted = asked.query.get("fieldSelector", "").removeprefix("metadata.name=")
            labels = dict(
                each.split("=") for each in asked.query.get("labelSelector", "").split(",") if "=" in each
            )
            return 200, _list(
                job
                for (place, name), job in objects.items()
                if namespace in (None, place)
                and wanted in ("", name)
                and labels.items() <= job["metadata"].get("labels", {}).items()
            )
        key = (namespace or "", parts[-1])
        if asked.method == "PATCH":
            return self._change(objects, key, asked)
        if asked.method == "DELETE" and key in objects:
            return 200, objects.pop(key)
        return (200, objects[key]) if key in objects else not_found(plural, key[1])

    def _change(
        self, objects: dict[tuple[str, str], Object], key: tuple[str, str], asked: Asked
    ) -> tuple[int, Object]:
        old = objects.get(key)
        if old is not None and "merge-patch" in asked.headers["content-type"]:
            objects[key] = {**old, "spec": {**old["spec"], **asked.body["spec"]}}
            return 200, objects[key]
        metadata = {"name": key[1], "namespace": key[0], "uid": "uid", "resourceVersion": "1"}
        job = {**asked.body, "metadata": metadata}
        if "dryRun" not in asked.query:
            objects[key] = job
        return (201 if old is None else 200), job


def _list(items: Any) -> Object:
    return {"metadata": {"resourceVersion": "1"}, "items": list(items)}


@contextmanager
def cluster_api() -> Iterator[ClusterApi]:
    """A server of its own, on a free port."""
    served = ClusterApi()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            parts = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, parts.path, query, body, headers)
            with lock:
                status, found = served.answer(asked)
            self.send_response(status)
            if isinstance(found, list):
                self._stream(found)
                return
            content = json.dumps(found).encode()
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _stream(self, parts: list[Any]) -> None:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in parts:
                if part == CUT:
                    self.close_connection = True
                    return
                if part == HOLD:
                    self.wfile.flush()
                    served.over.wait()
                    continue
                line = (part if isinstance(part, str) else json.dumps(part)).encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.write(b"0\r\n\r\n")

        do_GET = do_PATCH = do_DELETE = _handle

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = QuietServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield served
    finally:
        served.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def trainingjob(name: str = "digits", namespace: str = "team", **status: Any) -> Object:
    """A job as an API server gives it."""
    return {
        "apiVersion": "sapflow.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": name, "namespace": namespace, "uid": f"uid-of-{name}", "resourceVersion": "1"},
        "spec": {"workers": 4, "algorithm": {"mode": "Sync"}, "prices": {"platform": "AWSLambda"}},
        "status": status,
    }


def tuningjob(name: str = "digits-search", namespace: str = "team", **status: Any) -> Object:
    """A search as an API server gives it."""
    return {
        "apiVersion": "sapflow.dev/v1alpha1",
        "kind": "TuningJob",
        "metadata": {"name": name, "namespace": namespace, "uid": f"uid-of-{name}", "resourceVersion": "1"},
        "spec": {
            "objective": {"metric": "accuracy", "direction": "Maximize"},
            "maxTrials": 8,
            "maxWorkers": 4,
        },
        "status": status,
    }


def tried(number: int, objective: float, state: str = "Finished", **fields: Any) -> Object:
    """A trial in the status of a search."""
    parameters = {"spec.optimizer.learningRate": "0.125", "spec.optimizer.name": '"Adam"'}
    return {
        "trial": number, "state": state, "step": 4, "objective": objective, "costUSD": 0.0001,
        "parameters": parameters, **fields,
    }  # fmt: skip


def searching(done: int, /, **progress: Any) -> Object:
    """The status of a search at work, with trials 0 … done - 1 ended, the last one the best."""
    top = [tried(number, 0.5 + number / 20) for number in reversed(range(done))]
    counts = {"begun": done + 2, "done": done, "maxTrials": 8, "running": 2, "paused": 0, "finished": done}
    found = {**counts, "trials": f"{done}/8", "pruned": 0, "failed": 0, "costUSD": 0.0001 * done}
    if top:
        found |= {"best": top[0], "top": top}
    found |= progress
    return {
        "conditions": [condition("Succeeded", "Unknown", "Running", "the driver is at work")],
        "startTime": "2026-01-01T00:00:00Z",
        "limits": {"maxTrials": 8},
        "progress": found,
    }


def searched(reason: str = "Completed") -> Object:
    """The status of a search that has its result."""
    status = searching(8, running=0)
    best = status["progress"]["best"]
    return {
        **status,
        "conditions": [condition("Succeeded", "True", reason, "8 trials, the best is trial 7")],
        "completionTime": "2026-01-01T00:01:30Z",
        "result": {
            "uri": "s3://sapflow/jobs/uid/result/model.safetensors", "sha256": "5ca1ab1e", "trial": 7, "version": 12,
            "objective": best["objective"], "parameters": best["parameters"], "endedBy": reason,
        },
    }  # fmt: skip


def trial(number: int, state: str = "Finished", search: str = "digits-search", **status: Any) -> Object:
    """The object of a search's trial."""
    parameters = {"spec.optimizer.learningRate": "0.125", "spec.optimizer.name": '"Adam"'}
    return {
        "apiVersion": "sapflow.dev/v1alpha1",
        "kind": "Trial",
        "metadata": {
            "name": f"{search}-{number}", "namespace": "team", "uid": f"uid-of-{search}-{number}",
            "resourceVersion": "1", "labels": {"sapflow.dev/tuning": search},
        },
        "spec": {"number": number, "parameters": parameters},
        "status": {"state": state, "step": 4, "costUSD": 0.0001, **status},
    }  # fmt: skip


def condition(type: str, status: str, reason: str, message: str = "") -> Object:
    return {"type": type, "status": status, "reason": reason, "message": message}


def running(step: int, **progress: Any) -> Object:
    """The status of a job at work."""
    return {
        "conditions": [condition("Succeeded", "Unknown", "Running", "the driver is at work")],
        "startTime": "2026-01-01T00:00:00Z",
        "progress": {"step": step, "steps": 40, "percent": 2.5 * step, "costUSD": 0.0001, **progress},
    }


def succeeded(sha256: str = "5ca1ab1e") -> Object:
    """The status of a job that has its result."""
    return {
        **running(40, loss=0.1234, validationAccuracy=0.9725, structure=[1, 2, 4]),
        "conditions": [condition("Succeeded", "True", "Completed", "trained")],
        "completionTime": "2026-01-01T00:01:30Z",
        "result": {"uri": "s3://sapflow/jobs/uid/result/model.safetensors", "sha256": sha256, "version": 40},
    }


def failed(reason: str, message: str) -> Object:
    return {**running(7), "conditions": [condition("Succeeded", "False", reason, message)]}


def pod(
    name: str, role: str = "driver", phase: str = "Running", created: str = "2026-01-01T00:00:00Z"
) -> Object:
    """A pod of a job; a function's has Knative's container too."""
    names = ["driver"] if role == "driver" else ["queue-proxy", "user-container"]
    state: Object = {"running": {}} if phase == "Running" else {"terminated": {}}
    if phase == "Pending":
        state = {"waiting": {"reason": "ContainerCreating"}}
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": created,
            "resourceVersion": "1",
            "labels": {"sapflow.dev/role": role, "sapflow.dev/job": "digits"},
        },
        "spec": {"containers": [{"name": each} for each in names]},
        "status": {"phase": phase, "containerStatuses": [{"name": each, "state": state} for each in names]},
    }
