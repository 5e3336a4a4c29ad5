"""Whose data it is that functions cut or prepare: a job's, or that of a search's template."""

from collections.abc import Mapping

from sapflow.spec import resolved
from sapflow.spec.resolved import ResolvedJob
from sapflow.spec.training_job import KIND


def job_to_cut(document: object, prefix: str) -> ResolvedJob:
    """The job whose data a document is about: that of a job, or the template of a search. Raises SpecError."""
    if isinstance(document, Mapping) and document.get("kind") != KIND:
        # Functions of jobs start without it.
        from sapflow.spec import resolved_search, tuning_document

        if tuning_document.is_tuning(document):
            return resolved_search.read(document, prefix).template
    return resolved.read(document, prefix)
