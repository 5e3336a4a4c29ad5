"""A job whose parameters a search of its store has found."""

from sapflow.errors import SapflowError, SpecError
from sapflow.objects.stores.protocol import Store
from sapflow.spec.training_job import TrainingJob
from sapflow.tuning.found_parameters import FIELD, job_with, read_found
from sapflow.tuning.spec_record import read_spec


class SearchNotEnded(SapflowError):
    """A job's parameters are those of a search that has not ended."""

    reason = "SearchNotEnded"


class SearchUnknown(SpecError):
    """There is no search of the name that a job gives."""


SEARCH_NOT_DONE = (SearchNotEnded, SearchUnknown)
"""What is raised of a job that can be trained once its search was run."""


def settled(job: TrainingJob, store: Store, uid: str) -> TrainingJob:
    """The job with the parameters that the search `uid` has found, to be run on this machine. What it is called in a
    store follows from them.

    Raises SearchNotEnded, SpecError if there is no such search or its parameters do not fit the job, and StoreError.
    """
    asked = job.spec.parameters_from
    assert asked is not None, "the job has parametersFrom"
    search = read_spec(store, uid)
    if search is None:
        where = store.url.partition("?")[0]
        said = (
            f"is {asked.search!r}, and {where} holds no such search: run it first, or name one of this store"
        )
        raise SearchUnknown([(f"{FIELD}.search", said)])
    found = read_found(store, uid, search.job.spec.parameters, asked.trial)
    if found is None:
        raise SearchNotEnded(
            f"{FIELD}.search: {uid} has not ended, so its best trial is not known yet: run it to its end"
        )
    return job_with(job.to_json(), found, "local")
