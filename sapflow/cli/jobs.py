"""Finds the jobs and stores that a user names by a YAML file or a job's uid."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sapflow.client import importable, pipeline, stored
from sapflow.client.session import DEFAULT_STORE, Session, find_session, open_session, store_url
from sapflow.client.tuning import open_tuning
from sapflow.errors import DataError, SapflowError, SpecError
from sapflow.spec import tuning_document
from sapflow.spec.document import documents, parse
from sapflow.spec.training_job import Runtime, TrainingJob
from sapflow.spec.trial_names import TrialName, trial_named
from sapflow.spec.tuning_job import TuningJob

SUFFIXES = (".yaml", ".yml", ".json")


def add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store",
        metavar="DIR|URL",
        help=f"where jobs keep their state: a directory, or s3://bucket/prefix?endpoint=http://host:9000 with "
        f"credentials in the environment (default: spec.storage, else {DEFAULT_STORE} in the current folder)",
    )


def add_entrypoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--entrypoint",
        metavar="PACKAGE.MODULE:NAME",
        action="append",
        default=[],
        help="consent to import and call this model of your own, where the file or the store names it (may be repeated "
        "for a loss); without it only built-in models are built",
    )


def read_text(path: str) -> str:
    """The text of a job's file; `-` is standard input. Raises DataError."""
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; give the path of a job's YAML") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text file: {error}; give the path of a job's YAML") from error


def read_documents(path: str, runtime: Runtime = "local") -> list[Any]:
    """The documents in a YAML file, in the order in which they run; for this machine their jobs name searches of the
    file by their uids.

    Raises DataError if there is no such file, SpecError if it is no YAML, or the documents do not go together.
    """
    text = read_text(path)
    try:
        found = documents(text)
        return pipeline.linked(found) if runtime == "local" else pipeline.checked(found)
    except SpecError as error:
        error.add_note(f"(in {path})")
        raise


def read_document(path: str) -> object:
    """The document in a YAML file, of several the last: that whose model is what the file is for. Raises DataError if
    there is no such file, SpecError if it is no YAML."""
    return read_documents(path)[-1]


def read_job(path: str, runtime: Runtime = "local") -> TrainingJob:
    """The job in a YAML file. Raises DataError if there is no such file, SpecError with all problems of its fields."""
    return job_in(read_document(path), path, runtime)


def job_in(document: object, path: str, runtime: Runtime = "local") -> TrainingJob:
    """The job in the document of a file. Raises SpecError with all problems of its fields, DataError for a search."""
    if tuning_document.is_tuning(document):
        raise DataError(
            f"{path} is a search and no job: name one of its trials, as {path}/trials/7, or the best, "
            f"{path}/trials/best"
        )
    try:
        return parse(document, runtime)
    except SpecError as error:
        error.add_note(f"(in {path})")
        raise


def documents_in(
    found: Sequence[Any], path: str, runtime: Runtime = "local"
) -> list[TuningJob | TrainingJob]:
    """The jobs and searches in the documents of a file. Raises SpecError with all problems of the first with any."""
    return [
        search_in(each, path, runtime) if tuning_document.is_tuning(each) else job_in(each, path, runtime)
        for each in found
    ]


def is_file(name: str) -> bool:
    return name == "-" or name.endswith(SUFFIXES)


def session_of(name: str, store: str | None, environ: Mapping[str, str], *, probe: bool = False) -> Session:
    """The session of a job, named by its YAML file, its uid, or its folder in a store; or of a trial, named by its
    search and its number.

    Raises DataError if the store has no such job.
    """
    if (named := trial_named(name)) is not None:
        return _trial_session(named, store, environ)
    if is_file(name):
        return open_session(read_job(name), environ, store=store, probe=probe)
    folder = Path(name).absolute()
    if store is None and _is_stored(folder):
        return find_session(folder.name, environ, store=str(folder.parent.parent))
    return stored.find(name, environ, store=store)


def _trial_session(named: TrialName, store: str | None, environ: Mapping[str, str]) -> Session:
    name, folder = named.search, Path(named.search).absolute()
    if is_file(name):
        search = open_tuning(read_search(name), environ, store=store, probe=False)
        try:
            return search.trial(named.number)
        except SapflowError:
            search.store.close()
            raise
    if store is None and _is_stored(folder):
        named, store = replace(named, search=folder.name), str(folder.parent.parent)
    return stored.find_trial(named, environ, store=store)


def _is_stored(folder: Path) -> bool:
    """Whether a folder is that of a job or a search in a directory store."""
    return folder.is_dir() and folder.parent.name == "jobs"


def read_search(path: str) -> TuningJob:
    """The search in a YAML file. Raises DataError if there is no such file, SpecError with all problems of its
    fields."""
    searches = [each for each in read_documents(path) if tuning_document.is_tuning(each)]
    if not searches:
        raise DataError(f"{path} is a job and no search: it has no trials, so name it alone")
    return search_in(searches[-1], path)


def search_in(document: object, path: str, runtime: Runtime = "local") -> TuningJob:
    """The search in a decoded document of a file. Raises SpecError with all problems of its fields."""
    try:
        return tuning_document.parse(document, runtime)
    except SpecError as error:
        error.add_note(f"(in {path})")
        raise


def file_named(name: str) -> str | None:
    """The YAML file by which a job or a trial is named, None if it is named otherwise."""
    named = trial_named(name)
    path = name if named is None else named.search
    return path if is_file(path) else None


def make_importable(
    job: TrainingJob, path: str, environ: Mapping[str, str], store: str | None = None
) -> Mapping[str, str]:
    """Let a job's own model be imported, here and in workers: from the folder of its YAML, from the current folder, and
    from the folder of modules that were written from Python.

    Returns the environment for the functions. It is unchanged for a built-in model.
    """
    if job.spec.model.entrypoint is None:
        return environ
    folders = [str(Path(path).resolve().parent), str(Path.cwd())] if path != "-" else [str(Path.cwd())]
    written = importable.modules_folder(store_url(job, store))
    return importable.make_importable([*folders, *([written] if written.is_dir() else [])], environ)
