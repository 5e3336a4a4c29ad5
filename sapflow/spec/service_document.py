"""Parses YAML text or a decoded document into a checked ModelService."""

import re
from collections.abc import Mapping

from pydantic import ValidationError

from sapflow.errors import SpecError
from sapflow.spec import document as job_document
from sapflow.spec.model_service import SERVICE_KIND, ModelService
from sapflow.spec.problems import Problem, explain, lenient
from sapflow.spec.rules import CLUSTER_NAME
from sapflow.spec.service_rules import service_rules

SERVICE_CLUSTER_ONLY = {
    "spec.scale": "it is for the cluster runtime; `sapflow serve` is one process",
    "spec.resources": "it is for the cluster runtime; `sapflow serve` has this machine's",
    "spec.canary": "it is for the cluster runtime; `sapflow serve` serves one version",
}
"""Fields of a ModelService that only a cluster supports."""


def load(text: str) -> ModelService:
    """A ModelService from YAML (or JSON) text. Raises SpecError."""
    return parse(job_document.one_document(text, SERVICE_KIND))


def is_service(document: object) -> bool:
    """Whether a decoded document says that it is a ModelService."""
    return isinstance(document, Mapping) and document.get("kind") == SERVICE_KIND


def parse(document: object) -> ModelService:
    """A ModelService from a decoded document. Raises SpecError with all problems."""
    if not isinstance(document, dict):
        raise SpecError([("(document)", "must be a mapping with apiVersion, kind, metadata and spec")])
    try:
        service = ModelService.model_validate(document)
    except ValidationError as error:
        raise SpecError([explain(dict(item), ModelService) for item in error.errors()]) from error
    found: list[Problem] = list(lenient(document, ModelService))
    found += [
        (f"spec.{rule.field}", rule.message) for rule in service_rules() if not rule.holds(service.spec)
    ]
    if not re.fullmatch(CLUSTER_NAME, service.metadata.name):
        found.append(("metadata.name", "must begin with a letter: it begins the names of Services"))
    if found:
        raise SpecError(found)
    return service
