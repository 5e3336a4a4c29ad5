"""A trained model that a process of this machine serves, for `sapflow serve` and for the end of a run."""

import json
import shlex
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sapflow.client import versions
from sapflow.client.local_server import LocalServer, Place
from sapflow.client.served import Served
from sapflow.client.session import Session
from sapflow.client.tuning import TuningSession
from sapflow.objects import keys
from sapflow.spec.serving.serve import ServingSpec
from sapflow.spec.serving.served import ServedDocument


@dataclass(frozen=True, slots=True)
class ServableModel:
    """Where a model lies, and what is known of it."""

    name: str
    version: str
    store: str
    key: str
    entrypoints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """What a server has answered, and how to ask it again."""

    url: str
    curl: str
    """A line for a shell."""
    decision: Mapping[str, Any]
    """On the example."""
    seconds: float
    """From the start of the process to this decision; its golden rows were answered before."""


def model_of(
    session: Session, name: str, version: int | None, consented: tuple[str, ...], opened: ExitStack
) -> ServableModel:
    """The model of a job's result, or of another version, which is exported until `opened` is closed."""
    outcome = session.outcome()
    key = keys.result(session.prefix, versions.MODEL)
    if outcome is not None and version in (None, outcome["version"]) and session.store.exists(key):
        return ServableModel(name, str(outcome["version"]), session.url, key, consented)
    folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="sapflow-model-")))
    done = versions.export(session, folder / versions.MODEL, version)
    return ServableModel(name, str(done.version), folder.as_uri(), versions.MODEL, consented)


def result_of(opened: Session | TuningSession, version: str) -> ServableModel:
    """The model that a job's or a search's run has ended with. Who runs a job has named its code."""
    template = opened.job.template if isinstance(opened, TuningSession) else opened.job
    entrypoint = template.spec.model.entrypoint
    return ServableModel(
        opened.job.metadata.name,
        version,
        opened.url,
        keys.result(opened.prefix, versions.MODEL),
        () if entrypoint is None else (entrypoint,),
    )


def start(
    model: ServableModel,
    spec: ServingSpec,
    environ: Mapping[str, str],
    place: Place | None = None,
    token: str | None = None,
) -> LocalServer:
    """A process that serves the model and has answered its golden rows; on any free port without `place`. Raises
    DataError, NotServed."""
    document = ServedDocument(
        name=model.name,
        version=model.version,
        key=model.key,
        entrypoints=list(model.entrypoints),
        decision=spec.decision,
        batch=spec.batch,
        limits=spec.limits,
        asks_token=token is not None,
    )
    return LocalServer(document, model.store, environ, place or Place(port=0), token)


def ask(server: LocalServer, began: float, token: str | None = None) -> Asked:
    """Ask a server for its decision on the example that it gives. `began` is when its start began, by
    `time.monotonic`. Raises DataError, NotAnswered."""
    served = Served(server.url, token)
    example = example_of(served)
    decision = served.predict(example["rows"])[0]
    return Asked(server.url, curl(server.url, example, token), decision, time.monotonic() - began)


def example_of(served: Served) -> dict[str, Any]:
    """The body of a request that a server gives as an example."""
    asked = served.metadata()["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    found: dict[str, Any] = asked["example"]
    return found


def curl(url: str, example: Mapping[str, Any], token: str | None = None) -> str:
    """The line of curl that asks a server at `url`."""
    bearer = f" -H 'Authorization: Bearer {token}'" if token else ""
    body = shlex.quote(json.dumps(example))
    return f"curl {url}/predict{bearer} -H 'Content-Type: application/json' -d {body}"
