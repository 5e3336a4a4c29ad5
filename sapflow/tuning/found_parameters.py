"""The parameters that a search has found, for a job whose `spec.parametersFrom` names it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sapflow.errors import SpecError
from sapflow.objects import keys
from sapflow.objects.documents import read_json
from sapflow.objects.stores.protocol import Store
from sapflow.spec import field_paths
from sapflow.spec.document import parse
from sapflow.spec.parameter_values import present
from sapflow.spec.parameters import ParameterSpec
from sapflow.spec.training_job import Runtime, TrainingJob
from sapflow.spec.trial_names import TrialName

FIELD = "spec.parametersFrom"


@dataclass(frozen=True, slots=True)
class FoundParameters:
    """The parameters of a trial."""

    trial: int
    values: Mapping[str, Any]
    """By path."""
    absent: tuple[str, ...] = ()
    """The paths of those that the trial does not have, because their `when` does not hold."""


def read_found(
    store: Store, uid: str, searched: Sequence[ParameterSpec], trial: int | None = None
) -> FoundParameters | None:
    """The parameters of the best trial of the search `uid` that has ended, or of the trial that is named; None while
    the search has no result yet.

    Raises SpecError where the search has ended without a best trial, or does not keep the one that is named, and
    StoreError.
    """
    prefix = keys.job(uid)
    outcome = read_json(store, keys.result(prefix, "outcome.json"))
    if outcome is None:
        return None
    best = outcome.get("trial")
    if trial is None and best is None:
        said = f"{uid} has ended without a best trial: name one by {FIELD}.trial"
        raise SpecError([(f"{FIELD}.search", said)])
    if trial is None or trial == best:
        return _found(int(best), outcome["parameters"], searched)
    document = read_json(store, keys.spec(keys.trial(prefix, trial)))
    if document is None:
        said = (
            f"{TrialName(uid, trial)} is not kept, or has never begun: of a trial that was stopped nothing is kept; "
            "name another, or leave it out for the best one"
        )
        raise SpecError([(f"{FIELD}.trial", said)])
    return _found(trial, _values(document, searched), searched)


def trained_with(document: Mapping[str, Any], found: FoundParameters) -> dict[str, Any]:
    """The document of a job with the parameters that a search has found, and the trial's number. Raises SpecError for a
    parameter that has no place in it."""
    made: Any = document
    try:
        for path in found.absent:
            made = field_paths.removed(made, path)
        for path, value in found.values.items():
            made = field_paths.replaced(made, path, value)
    except KeyError as error:
        said = f"has a parameter, {error.args[0]}, that has no place in this job: write the value that it has without"
        raise SpecError([(f"{FIELD}.search", said)]) from error
    return dict(field_paths.replaced(made, f"{FIELD}.trial", found.trial))


def job_with(document: Mapping[str, Any], found: FoundParameters, runtime: Runtime) -> TrainingJob:
    """The job of a document, with these parameters. Raises SpecError, which names trial and fields, where they do not
    go together with the rest of it."""
    try:
        return parse(trained_with(document, found), runtime)
    except SpecError as error:
        search = field_paths.value_at(document, f"{FIELD}.search")
        error.add_note(f"(with the parameters of trial {found.trial} of {search})")
        raise


def _found(trial: int, values: Mapping[str, Any], searched: Sequence[ParameterSpec]) -> FoundParameters:
    absent = tuple(
        each.path
        for each in reversed(searched)
        if each.when is not None and each.when.path in values and not present(each, values)
    )
    return FoundParameters(trial, dict(values), absent)


def _values(document: Any, searched: Sequence[ParameterSpec]) -> dict[str, Any]:
    """What a trial's own spec has at the paths of the search's parameters."""
    found: dict[str, Any] = {}
    for parameter in searched:
        if present(parameter, found) and field_paths.given(document, parameter.path):
            found[parameter.path] = field_paths.value_at(document, parameter.path)
    return found
