"""spec.from: the version of another job at which a job begins."""

from typing import Annotated

from pydantic import Field

from sapflow.spec.types import JobName, Model


class OriginSpec(Model):
    """A version of another job, or of a trial, which keeps it, in the same store."""

    job: JobName = Field(
        description="The job: in a cluster the name of a TrainingJob of the same namespace, in a local run its name "
        "in the store, which `sapflow fork` writes. A trial of a search is named SEARCH/trials/7, the best one "
        "SEARCH/trials/best."
    )
    version: Annotated[int, Field(ge=1, lt=2**31)] = Field(
        description="The version, whose number the job goes on from: steps and epochs count from the other job's "
        "beginning."
    )
