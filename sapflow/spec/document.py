"""Parses YAML text or a decoded document into a checked TrainingJob, and finds all problems at once."""

from typing import Any

from pydantic import ValidationError

from sapflow.errors import SpecError
from sapflow.spec import rules
from sapflow.spec.problems import explain, lenient
from sapflow.spec.training_job import CLUSTER_ONLY, KIND, Runtime, TrainingJob


def load(text: str, runtime: Runtime | None = "local") -> TrainingJob:
    """A TrainingJob from YAML (or JSON) text, to be run by `runtime`. Raises SpecError."""
    return parse(one_document(text), runtime)


def one_document(text: str, kind: str = KIND) -> object:
    """The only document of a YAML (or JSON) text, as it was written. Raises SpecError."""
    found = documents(text)
    if len(found) != 1:
        raise SpecError([("(document)", f"must hold one {kind}, not {len(found)} documents")])
    return found[0]


def documents(text: str) -> list[Any]:
    """The documents of a YAML (or JSON) text, as they were written. Raises SpecError."""
    import yaml  # functions, which read JSON, start without it

    from sapflow.spec import yaml_text

    try:
        return yaml_text.documents(text)
    except yaml.YAMLError as error:
        message = str(error).replace('in "<unicode string>", ', "")
        raise SpecError([("(document)", f"is not YAML: {message}")]) from error


def parse(document: object, runtime: Runtime | None = "local") -> TrainingJob:
    """A TrainingJob from a decoded document, to be run by `runtime`. Raises SpecError with all problems.

    A local run refuses fields that only a cluster supports, and a cluster refuses what only one machine can do.
    Without a runtime, only what both refuse is refused.
    """
    if not isinstance(document, dict):
        raise SpecError([("(document)", "must be a mapping with apiVersion, kind, metadata and spec")])
    problems: list[tuple[str, str]] = []
    if runtime == "local":
        problems += [
            (path, f"has no effect here: {why}; leave it out")
            for path, why in CLUSTER_ONLY.items()
            if (given := lookup(document, path)) is not None and given is not False and given != "Retain"
        ]
    try:
        job = TrainingJob.model_validate(document)
    except ValidationError as error:
        said = {path for path, _ in problems}
        found = (explain(dict(item), TrainingJob) for item in error.errors())
        raise SpecError([*problems, *(each for each in found if each[0] not in said)]) from error
    problems += lenient(document, TrainingJob)
    problems += rules.problems(job, runtime)
    if problems:
        raise SpecError(problems)
    return job


def lookup(document: dict[str, Any], path: str) -> object:
    """What a decoded document has at a dotted path; None if it has nothing there."""
    value: object = document
    for name in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value
