"""`sapflow predict`: tries a trained model on samples of a file, or on the job's held-out samples."""

import argparse
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from sapflow.cli import predict_input, predict_served
from sapflow.cli.cluster_options import add_cluster, cluster_named
from sapflow.cli.jobs import add_entrypoint, add_store, file_named, session_of
from sapflow.cli.output import print_json
from sapflow.client import predict, raw_source, stored, versions
from sapflow.client.cluster_kinds import service_named
from sapflow.client.importable import modules_folder
from sapflow.client.job_data import find_manifest
from sapflow.client.predict import Predictor
from sapflow.client.session import Session
from sapflow.client.tuning import find_tuning
from sapflow.data.sampler import Reader
from sapflow.errors import DataError

HELD_OUT = 10

_DESCRIPTION = """\
Use a trained model. For each sample it prints the likeliest classes with their probabilities, or the
predicted values. Without INPUT it uses the first held-out samples of the job, and also prints the truth."""

_EPILOG = """\
INPUT has features only, with the values of the data source (Sapflow scales them as in training):
  .npy    an array [n, …]               .npz   the same, under x, features or data, or the only one
  .csv    a row of numbers a sample     -      such rows on standard input
  .csv.gz, .parquet                     as the data that the model was trained on
A model of prepared data takes raw rows as its source had them, of which the target may lack: files (.csv, .parquet,
.jsonl, …), folders of them, an image or a folder of images, or - for rows of CSV. Of .npy it takes prepared features.
Columns with names are taken by these, in any order, if the model knows the names of its features.

examples:
  sapflow predict .sapflow/jobs/digits-1a2b3c4d/result/model.safetensors
  sapflow predict model.safetensors flowers.csv --top 3
  echo 5.1,3.5,1.4,0.2 | sapflow predict model.safetensors -
  sapflow predict model.safetensors flowers.csv --entrypoint my_model:factory
  sapflow predict clothes.safetensors photos/shirt.png
  sapflow predict job.yaml --json
  sapflow predict --url http://127.0.0.1:8080 rows.csv
  sapflow predict ms/late rows.csv -n team          # a ModelService of a cluster"""


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "predict",
        help="use a trained model",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "model",
        metavar="MODEL|JOB[@VERSION]",
        nargs="?",
        help="a model.safetensors, or a job: its YAML or name in the store, of which its result or a version is used; "
        "or a trial of a search, SEARCH/trials/7 or SEARCH/trials/best; or ms/NAME, a ModelService of a cluster",
    )
    parser.add_argument(
        "input",
        metavar="INPUT",
        nargs="?",
        help="features: .npy, .npz, .csv, .csv.gz, .parquet, or - for CSV rows; raw rows, if the model prepares them",
    )
    add_store(parser)
    add_entrypoint(parser)
    parser.add_argument(
        "--url",
        help="ask a served model there, instead: `sapflow predict --url http://127.0.0.1:8080 rows.csv`",
    )
    parser.add_argument(
        "--token", help="the bearer token of the served model (of ms/NAME: else its Secret's)"
    )
    parser.add_argument(
        "--gateway",
        metavar="URL",
        help="with ms/NAME: ask through Knative's gateway there, where the service's host name is not known here",
    )
    add_cluster(parser)
    parser.add_argument("--top", type=int, default=1, metavar="K", help="classes a sample (default: 1)")
    parser.add_argument(
        "--header",
        choices=("Auto", "Present", "Absent"),
        help="whether CSV has a row of names first (default: as in training)",
    )
    parser.add_argument(
        "--delimiter", metavar="CHARACTER", help="between the cells of CSV (default: as in training)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(command=run)


def run(given: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Returns exit code 0 after printing predictions. Raises DataError, SpecError, StoreError."""
    if given.delimiter is not None and len(given.delimiter) != 1:
        raise DataError(f"--delimiter {given.delimiter!r}: give one character")
    if given.top < 1:
        raise DataError(f"--top {given.top}: give a number of classes, at least 1")
    if given.url is not None:
        return predict_served.run(given)
    if (service := service_named(given.model or "")) is not None:
        return predict_served.run_service(given, service, environ)
    if given.gateway is not None or cluster_named(given):
        raise DataError(
            "--gateway, -n, --context and --kubeconfig are for a ModelService of a cluster: name it ms/NAME"
        )
    if given.model is None:
        raise DataError("give MODEL or JOB, or --url of a served model")
    given.model, given.version = versions.split(given.model)
    folders = [str(Path.cwd())]
    if (file := file_named(given.model)) is not None:
        folders.insert(0, str(Path(file).resolve().parent))
    sys.path[:0] = [folder for folder in folders if folder not in sys.path]
    with ExitStack() as opened:
        session = _session(given, environ)
        if session is not None:
            opened.enter_context(session)
            sys.path.append(str(modules_folder(session.url)))
        return _predict(given, _model(given, session), session)


def _predict(given: argparse.Namespace, model: Predictor, session: Session | None) -> int:
    asked = {name: value for name in ("header", "delimiter") if (value := getattr(given, name)) is not None}
    truth: np.ndarray | None = None
    names: list[dict[str, Any]] | None = None
    if given.input is None:
        scaled, truth = _held_out(given, session)
    elif model.description.preparation is not None and not given.input.endswith(".npy"):
        source = (
            given.input
            if given.input != "-"
            else raw_source.of_text(sys.stdin.read().encode(), "standard input")
        )
        prepared = model.prepared(source, asked)
        for reason in prepared.bad:
            print(f"no prediction: {reason}", file=sys.stderr)
        scaled = model.scaled(prepared.features)
        names = [{"row": number} for number in prepared.rows.tolist()]
        if prepared.files:
            names = [{**one, "file": file} for one, file in zip(names, prepared.files, strict=True)]
    else:
        about = model.description
        scaled = model.scaled(predict_input.read(given.input, about, about.dialect.model_copy(update=asked)))
    outputs = model.outputs(scaled)
    rows = _rows(model, outputs, truth, given.top)
    if names is not None:
        rows = [{**name, **row} for name, row in zip(names, rows, strict=True)]
    if given.json:
        print_json({"task": model.description.task, "predictions": rows})
    else:
        for number, row in enumerate(rows):
            print(f"{row.get('file', row.get('row', number))}: {_words(model, row)}")
    return 0


def _session(given: argparse.Namespace, environ: Mapping[str, str]) -> Session | None:
    """The session of the model's job, if it is known."""
    if given.model.endswith(".safetensors"):
        return _job_of_model(Path(given.model), environ)
    return session_of(given.model, given.store, environ)


def _model(given: argparse.Namespace, session: Session | None) -> Predictor:
    if session is None or given.model.endswith(".safetensors"):
        return predict.load(given.model, entrypoint=given.entrypoint)
    version = given.version
    consent = given.entrypoint
    if file_named(given.model) is not None and not consent and session.job.spec.model.entrypoint is not None:
        # Who names the YAML has named the model.
        consent = [session.job.spec.model.entrypoint]
    if version is None and session.outcome() is None:
        last = versions.read(session, None)[0]
        raise DataError(
            f"job {session.uid} has no result yet: `sapflow run` it to its end, or name a version, such as its last: "
            f"{given.model}@{last}"
        )
    found, parts = versions.read(session, version)
    name = f"version {found} of {session.uid}"
    return predict.decode(memoryview(b"".join(parts)), name, consent, versions.preparation(session))


def _job_of_model(path: Path, environ: Mapping[str, str]) -> Session | None:
    """The session of the job, or of the search's template, in whose directory store a model is, or None."""
    parts = path.resolve().parts
    if len(parts) < 5 or parts[-4] != "jobs" or parts[-2] != "result":
        return None
    store = str(Path(*parts[:-4]))
    try:
        if (search := find_tuning(parts[-3], environ, store=store)) is not None:
            return search.as_job
        return stored.find(parts[-3], environ, store=store)
    except DataError:
        return None


def _held_out(given: argparse.Namespace, session: Session | None) -> tuple[np.ndarray, np.ndarray]:
    """Scaled features and targets of the first held-out samples."""
    manifest = None if session is None else find_manifest(session)
    if session is None or manifest is None:
        raise DataError(
            f"{given.model} does not lie in its job's store any more: give INPUT, a file of features"
        )
    if not manifest.validation_samples:
        raise DataError(f"job {session.uid} holds no samples out: give INPUT, a file of features")
    reader = Reader(session.store, session.resolved.data_prefix, manifest)
    return reader.range(0, min(HELD_OUT, manifest.validation_samples))


def _rows(model: Predictor, outputs: np.ndarray, truth: np.ndarray | None, top: int) -> list[dict[str, Any]]:
    """A JSON value for each sample."""
    rows = model.task.answers(outputs, top)
    if truth is not None:
        for row, target in zip(rows, model.task.named(truth).tolist(), strict=True):
            row["truth"] = target
    return rows


def _words(model: Predictor, row: dict[str, Any]) -> str:
    return model.task.in_words(row) + (f"   truth {row['truth']}" if "truth" in row else "")
