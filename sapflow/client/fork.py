"""The document of a job that begins at a version of another one."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import yaml

from sapflow.client import trials, versions
from sapflow.client.background import run_apart
from sapflow.client.job_data import find_manifest
from sapflow.client.session import Session
from sapflow.driver import fork as driver_fork
from sapflow.errors import DataError, SpecError
from sapflow.planning import fork
from sapflow.records.commits import Records
from sapflow.spec import tuning_document
from sapflow.spec.document import parse
from sapflow.spec.resolved import ResolvedJob
from sapflow.spec.training_job import TrainingJob
from sapflow.spec.trial_names import trial_named
from sapflow.spec.types import MAX_NAME
from sapflow.tuning.found_parameters import FoundParameters, trained_with
from sapflow.tuning.spec_record import read_spec

_OF_CLUSTER = ("name", "namespace", "labels")


def document(
    opened: Session,
    version: int | None,
    changes: Mapping[str, object],
    *,
    name: str | None = None,
    spec: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A TrainingJob that begins at `version` of the session's job: by default its result, or else its last version.

    `changes` are values by path, as `spec.optimizer.learningRate`; None takes a field out. `spec` is the job's own,
    where the store does not have all of it. Raises SpecError, which names the field and the remedy, for a version that
    is not kept and for what a fork may not change; DataError if the job has no version yet; StoreError.
    """
    job, found = opened.job, _version(opened, version)
    written = job.model_dump(by_alias=True, mode="json", exclude_none=True, exclude_defaults=True)
    if spec is not None:
        written["spec"] = copy.deepcopy(dict(spec))
    metadata = {key: value for key, value in written["metadata"].items() if key in _OF_CLUSTER}
    written["metadata"] = {
        **metadata,
        "name": name or _name(job.metadata.name, opened.uid, found),
    }
    for unused in ("weights", "weightsMatch"):
        written["spec"]["model"].pop(unused, None)
    # What it was trained with is in the spec.
    written["spec"].pop("parametersFrom", None)
    written["spec"]["from"] = {"job": _origin_name(opened), "version": found}
    for path, value in changes.items():
        _set(written, path, value)
    _check(opened, parse(written, opened.runtime), found)
    return written


def assignments(given: list[str]) -> dict[str, object]:
    """The changes in texts `PATH=VALUE`, whose values are YAML. Raises SpecError."""
    found: dict[str, object] = {}
    for each in given:
        path, equals, text = each.partition("=")
        if not equals or not path.startswith("spec."):
            raise SpecError(
                [("--set", f"{each!r} must be a field and its value: spec.optimizer.learningRate=0.01")]
            )
        try:
            found[path] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise SpecError([(path, f"{text!r} is no value in YAML: {error}")]) from error
    return found


def cluster_spec(resource: Mapping[str, Any], opened: Session) -> dict[str, Any]:
    """The spec in full of the session's job, of which the store does not have all, from its TrainingJob in a cluster,
    or of a trial from its TuningJob. Raises SpecError, StoreError."""
    if trial_named(opened.uid) is not None:
        return _trial_spec(resource, opened)
    origin = resource.get("status", {}).get("origin", {})
    if "parameters" not in origin:
        return dict(resource["spec"])
    found = FoundParameters(origin["trial"], origin["parameters"], tuple(origin.get("absent", ())))
    trained: dict[str, Any] = trained_with(resource, found)["spec"]
    return trained


def _trial_spec(search: Mapping[str, Any], opened: Session) -> dict[str, Any]:
    written = {name: value for name, value in search.items() if name != "status"}
    tuning = tuning_document.parse(written, "kubernetes")
    named = trial_named(opened.uid)
    stored = None if named is None else read_spec(opened.store, named.search)
    if named is None or named.number is None or stored is None:
        raise DataError(f"{opened.uid} is no trial of {tuning.metadata.name}: name a trial of the search")
    parameters = trials.trials_of(opened.store, stored)[named.number].parameters
    spec: dict[str, Any] = tuning_document.training_document(tuning, parameters)["spec"]
    return spec


def _name(job: str, uid: str, version: int) -> str:
    """What a fork is called whose user does not say it."""
    named = trial_named(uid)
    end = f"-v{version}" if named is None else f"-t{named.number}-v{version}"
    return f"{job[: MAX_NAME - len(end)]}{end}"


def _origin_name(opened: Session) -> str:
    """What `spec.from.job` calls the session's job: in a cluster the resource, else the uid."""
    if opened.runtime == "local":
        return opened.uid
    named, name = trial_named(opened.uid), opened.job.metadata.name
    return name if named is None else str(replace(named, search=name))


def _version(opened: Session, version: int | None) -> int:
    if version is not None:
        return version
    outcome = opened.outcome()
    if outcome is not None:
        return int(outcome["version"])
    last = run_apart(Records(opened.store, opened.prefix).last())
    if last is None or not last.version:
        raise DataError(f"job {opened.uid} has no version to begin at: nothing of it is trained yet")
    return last.version


def _set(document: dict[str, Any], path: str, value: object) -> None:
    *parents, last = path.split(".")
    place = document
    for parent in parents:
        inner = place.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise SpecError([(path, f"cannot be set: {parent} holds a value and no fields")])
        place = inner
    if value is None:
        place.pop(last, None)
    else:
        place[last] = value


def _check(opened: Session, job: TrainingJob, version: int) -> None:
    """Raise SpecError unless the version is kept and the job may begin at it, as far as that shows without a model."""
    asked = ResolvedJob(job, "", opened.runtime, parent=opened.uid)
    parent = run_apart(driver_fork.find_parent(opened.store, asked))
    manifest = find_manifest(opened)
    assert parent is not None, "the job has `from`"
    if not run_apart(driver_fork.is_kept(opened.store, parent.prefix, parent.commit)):
        raise driver_fork.not_kept(opened.uid, version, run_apart(versions.kept(opened)))
    if manifest is not None:
        was = parent.job.spec
        same = (was.data, was.algorithm.seed) == (job.spec.data, job.spec.algorithm.seed)
        fork.start(parent, job, manifest.train_samples, same_data=same)
