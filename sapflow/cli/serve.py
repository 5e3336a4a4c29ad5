"""`sapflow serve`: answers requests with the decisions of a trained model, on this machine."""

import argparse
import json
import shlex
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sapflow.cli.jobs import add_entrypoint, file_named, read_document
from sapflow.cli.stored_job import OF_A_CLUSTER, add_stored_job, stored_job
from sapflow.client import versions
from sapflow.client.local_server import LocalServer, Place
from sapflow.client.served import Served
from sapflow.client.session import Session
from sapflow.errors import DataError
from sapflow.objects import keys
from sapflow.spec import service_document, tuning_document
from sapflow.spec.serving.serve import ServingSpec
from sapflow.spec.serving.served import ServedDocument

_DESCRIPTION = """\
Serve a trained model on this machine: raw rows in, decisions out, as a ModelService does in a cluster. It answers
`POST /predict` (JSON or CSV) and the Open Inference Protocol; the page at / tells what it takes. The decision is that
of the job's `spec.serve`, or of a ModelService (--service)."""

_EPILOG = """\
examples:
  sapflow serve job.yaml
  sapflow serve model.safetensors --port 9000
  sapflow serve digits-1a2b3c4d --service service.yaml --token secret
"""


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "serve",
        help="answer requests with a trained model",
        description=_DESCRIPTION,
        epilog=_EPILOG + OF_A_CLUSTER.format(command="serve"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_stored_job(parser, "with a version, the model as it was then; or a model.safetensors")
    add_entrypoint(parser)
    parser.add_argument(
        "--service", metavar="FILE", help="a ModelService whose decision, limits and batch are meant"
    )
    parser.add_argument("--host", default="127.0.0.1", help="listen on this address (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=8080, help="listen on this port; 0: any (default: %(default)s)"
    )
    parser.add_argument("--token", help="requests need this bearer token (default: none is needed)")
    parser.add_argument("--json", action="store_true", help="print one JSON object once it listens")
    parser.set_defaults(command=serve)


@dataclass(frozen=True, slots=True)
class _Model:
    """Where the model lies, and what is known of it."""

    name: str
    version: str
    store: str
    key: str
    entrypoints: tuple[str, ...]


def serve(given: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Serves until Ctrl-C; returns the exit code of the process. Raises DataError, SpecError, StoreError."""
    if not 0 <= given.port <= 65535:
        raise DataError(f"--port {given.port}: give a number from 0 to 65535")
    spec = _spec(given)
    with ExitStack() as opened:
        model = _model(given, environ, opened)
        document = ServedDocument(
            name=model.name,
            version=model.version,
            key=model.key,
            entrypoints=list(model.entrypoints),
            decision=spec.decision,
            batch=spec.batch,
            limits=spec.limits,
            asks_token=given.token is not None,
        )
        place = Place(given.host, given.port)
        server = opened.enter_context(
            LocalServer(document, model.store, _importable(given, environ), place, given.token)
        )
        _tell(given, server.url, model)
        return server.wait()


def _spec(given: argparse.Namespace) -> ServingSpec:
    """What is said of the served model: by the ModelService, or else by the job's YAML."""
    if given.service is not None:
        return service_document.parse(read_document(given.service)).spec
    name, _ = versions.split(given.job)
    path = file_named(name)
    if path is None:
        return ServingSpec()
    document = read_document(path)
    if tuning_document.is_tuning(document):
        return tuning_document.parse(document).spec.serve or ServingSpec()
    from sapflow.spec.document import parse

    return parse(document).spec.serve or ServingSpec()


def _model(given: argparse.Namespace, environ: Mapping[str, str], opened: ExitStack) -> _Model:
    path = Path(given.job)
    if given.job.endswith(".safetensors"):
        if not path.is_file():
            raise DataError(f"there is no file {given.job}")
        folder = path.resolve().parent
        return _Model(
            path.name.removesuffix(".safetensors"), "1", folder.as_uri(), path.name, tuple(given.entrypoint)
        )
    session, name, version = stored_job(given, environ)
    opened.enter_context(session)
    consented = tuple(given.entrypoint)
    if file_named(name) is not None and session.job.spec.model.entrypoint is not None:
        consented = (*consented, session.job.spec.model.entrypoint)  # who names the YAML has named the model
    outcome = session.outcome()
    own = session.job.metadata.name
    key = keys.result(session.prefix, versions.MODEL)
    if outcome is not None and version in (None, outcome["version"]) and session.store.exists(key):
        return _Model(own, str(outcome["version"]), session.url, key, consented)
    return _exported(session, own, version, consented, opened)


def _exported(
    session: Session, name: str, version: int | None, consented: tuple[str, ...], opened: ExitStack
) -> _Model:
    """A version that is no result, as a file of its own."""
    folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="sapflow-model-")))
    done = versions.export(session, folder / versions.MODEL, version)
    return _Model(name, str(done.version), folder.as_uri(), versions.MODEL, consented)


def _importable(given: argparse.Namespace, environ: Mapping[str, str]) -> Mapping[str, str]:
    """The environment in which a model of one's own can be imported, as the job's functions import it."""
    name, _ = versions.split(given.job)
    path = file_named(name)
    folders = [str(Path.cwd())]
    if path is not None and path != "-":
        folders.append(str(Path(path).resolve().parent))
    before = environ.get("PYTHONPATH")
    return {**environ, "PYTHONPATH": ":".join([*folders, *([before] if before else [])])}


def _tell(given: argparse.Namespace, url: str, model: _Model) -> None:
    if given.json:
        print(json.dumps({"url": url, "model": model.name, "version": model.version}), flush=True)
        return
    served = Served(url, given.token)
    token = f" -H 'Authorization: Bearer {given.token}'" if given.token else ""
    asked = served.metadata()["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    body = shlex.quote(json.dumps(asked["example"]))
    print(f"{model.name}, version {model.version}, is served at {url} (Ctrl-C ends it). Ask it:\n")
    print(f"  curl {url}/predict{token} -H 'Content-Type: application/json' -d {body}", flush=True)
