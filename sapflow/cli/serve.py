"""`sapflow serve`: answers requests with the decisions of a trained model, on this machine."""

import argparse
import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sapflow.cli.jobs import add_entrypoint, file_named, read_document
from sapflow.cli.stored_job import OF_A_CLUSTER, add_stored_job, stored_job
from sapflow.client import versions
from sapflow.client.answering import ServableModel, curl, example_of, model_of, start
from sapflow.client.local_server import Place
from sapflow.client.served import Served
from sapflow.errors import DataError
from sapflow.spec import service_document, tuning_document
from sapflow.spec.serving.serve import ServingSpec

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


def serve(given: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Serves until Ctrl-C; returns the exit code of the process. Raises DataError, SpecError, StoreError."""
    if not 0 <= given.port <= 65535:
        raise DataError(f"--port {given.port}: give a number from 0 to 65535")
    spec = _spec(given)
    with ExitStack() as opened:
        model = _model(given, environ, opened)
        place = Place(given.host, given.port)
        server = opened.enter_context(start(model, spec, _importable(given, environ), place, given.token))
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


def _model(given: argparse.Namespace, environ: Mapping[str, str], opened: ExitStack) -> ServableModel:
    path = Path(given.job)
    if given.job.endswith(".safetensors"):
        if not path.is_file():
            raise DataError(f"there is no file {given.job}")
        folder = path.resolve().parent
        return ServableModel(
            path.name.removesuffix(".safetensors"), "1", folder.as_uri(), path.name, tuple(given.entrypoint)
        )
    session, name, version = stored_job(given, environ)
    opened.enter_context(session)
    consented = tuple(given.entrypoint)
    if file_named(name) is not None and session.job.spec.model.entrypoint is not None:
        consented = (*consented, session.job.spec.model.entrypoint)  # who names the YAML has named the model
    return model_of(session, session.job.metadata.name, version, consented, opened)


def _importable(given: argparse.Namespace, environ: Mapping[str, str]) -> Mapping[str, str]:
    """The environment in which a model of one's own can be imported, as the job's functions import it."""
    name, _ = versions.split(given.job)
    path = file_named(name)
    folders = [str(Path.cwd())]
    if path is not None and path != "-":
        folders.append(str(Path(path).resolve().parent))
    before = environ.get("PYTHONPATH")
    return {**environ, "PYTHONPATH": ":".join([*folders, *([before] if before else [])])}


def _tell(given: argparse.Namespace, url: str, model: ServableModel) -> None:
    if given.json:
        print(json.dumps({"url": url, "model": model.name, "version": model.version}), flush=True)
        return
    line = curl(url, example_of(Served(url, given.token)), given.token)
    print(f"{model.name}, version {model.version}, is served at {url} (Ctrl-C ends it). Ask it:\n")
    print(f"  {line}", flush=True)
