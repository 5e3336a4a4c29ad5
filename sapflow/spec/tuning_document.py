"""Parses YAML text or a decoded document into a checked TuningJob, and makes the TrainingJobs of its trials."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from sapflow.errors import SpecError
from sapflow.spec import document as job_document
from sapflow.spec import field_paths
from sapflow.spec.parameter_values import present
from sapflow.spec.parameters import ParameterSpec
from sapflow.spec.problems import Problem, explain, lenient
from sapflow.spec.training_job import API_VERSION, KIND, Runtime, TrainingJob
from sapflow.spec.tuning_job import TUNING_KIND, TuningJob
from sapflow.spec.tuning_problems import of_template, problems

TUNING_CLUSTER_ONLY = {
    "spec.serve.name": "it is for the cluster runtime; `sapflow serve` names the model as the search",
    "spec.serve.scale": "it is for the cluster runtime; `sapflow serve` is one process",
    "spec.serve.resources": "it is for the cluster runtime; `sapflow serve` has this machine's",
    "spec.serve.canary": "it is for the cluster runtime; `sapflow serve` serves one version",
    "spec.suspend": "suspending is for the cluster runtime; a local run stops by Ctrl-C and goes on when run again",
    "spec.ttlSecondsAfterFinished": "it is for the cluster runtime",
}
"""Fields of the search itself that only a cluster supports. A local run refuses all values but the default."""


def load(text: str, runtime: Runtime | None = "local") -> TuningJob:
    """A TuningJob from YAML (or JSON) text, to be run by `runtime`. Raises SpecError."""
    return parse(job_document.one_document(text, TUNING_KIND), runtime)


def is_tuning(document: object) -> bool:
    """Whether a decoded document says that it is a TuningJob."""
    return isinstance(document, Mapping) and document.get("kind") == TUNING_KIND


def parse(document: object, runtime: Runtime | None = "local") -> TuningJob:
    """A TuningJob from a decoded document, to be run by `runtime`. Raises SpecError with all problems.

    The template is checked as a TrainingJob, by itself and with every parameter at its bounds.
    """
    if not isinstance(document, dict):
        raise SpecError([("(document)", "must be a mapping with apiVersion, kind, metadata and spec")])
    found: list[Problem] = []
    if runtime == "local":
        found += [
            (path, f"has no effect here: {why}; leave it out")
            for path, why in TUNING_CLUSTER_ONLY.items()
            if job_document.lookup(document, path) not in (None, False)
        ]
    try:
        job = TuningJob.model_validate(document)
    except ValidationError as error:
        said = [explain(dict(item), TuningJob) for item in error.errors()]
        raise SpecError([*found, *said]) from error
    found += lenient(document, TuningJob)
    found += problems(job)
    written = job_document.lookup(document, "spec.template.spec")
    found += _template_problems(job, written, runtime)
    if not found:
        found += _extreme_problems(job, runtime)
    if found:
        raise SpecError(list(dict.fromkeys(found)))
    return job


def training_document(job: TuningJob, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The document of the TrainingJob that a trial with these parameters is.

    A parameter whose `when` does not hold is left out, whatever the template has there. Raises SpecError for a path
    that is not one of the search's parameters, or has no place in the template.
    """
    known = {each.path for each in job.spec.parameters}
    document = job.template.to_json()
    for parameter in reversed(job.spec.parameters):
        when = parameter.when
        if when is not None and when.path in parameters and not present(parameter, parameters):
            document = field_paths.removed(document, parameter.path)
    for path, value in parameters.items():
        if path not in known:
            raise SpecError([(path, f"is no parameter of the search: {', '.join(sorted(known))}")])
        try:
            document = field_paths.replaced(document, path, value)
        except KeyError as error:
            raise SpecError([(path, "has no place in the template")]) from error
    return dict(document)


def training_job(
    job: TuningJob, parameters: Mapping[str, Any], runtime: Runtime | None = "local"
) -> TrainingJob:
    """The TrainingJob that a trial with these parameters is. Raises SpecError where the values do not go together."""
    return job_document.parse(training_document(job, parameters), runtime)


def _template_problems(job: TuningJob, written: object, runtime: Runtime | None) -> Iterator[Problem]:
    document = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": job.metadata.name},
        "spec": written,
    }
    try:
        job_document.parse(document, runtime)
    except SpecError as error:
        yield from of_template(error).problems


def _extreme_problems(job: TuningJob, runtime: Runtime | None) -> Iterator[Problem]:
    """Problems of trials with one parameter at a bound, the others as the template has them."""
    by_path = {each.path: each for each in job.spec.parameters}
    for index, parameter in enumerate(job.spec.parameters):
        for value in parameter.extremes:
            values = {**_condition(parameter, by_path), parameter.path: value}
            try:
                training_job(job, values, runtime)
            except SpecError as error:
                field, message = error.problems[0]
                yield (
                    f"spec.parameters[{index}]",
                    f"has a value, {value!r}, with which {field} {message}",
                )
                break
    for index, values in enumerate(job.spec.initial or ()):
        try:
            training_job(job, values, runtime)
        except SpecError as error:
            field, message = error.problems[0]
            yield f"spec.initial[{index}]", f"is a set with which {field} {message}"


def _condition(parameter: ParameterSpec, by_path: Mapping[str, ParameterSpec]) -> dict[str, Any]:
    """Values of other parameters with which this one is there."""
    if parameter.when is None:
        return {}
    other = by_path[parameter.when.path]
    return {**_condition(other, by_path), other.path: parameter.when.values[0]}
