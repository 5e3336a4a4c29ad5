"""spec.from: the version of another job at which a job begins."""

from typing import Annotated

from pydantic import Field

from sapflow.spec.types import Model, ObjectName


class OriginSpec(Model):
    """A version of another job, which keeps it, in the same store."""

    job: ObjectName = Field(
        description="The job: in a cluster the name of a TrainingJob of the same namespace, in a local run its name "
        "in the store, which `sapflow fork` writes."
    )
    version: Annotated[int, Field(ge=1, lt=2**31)] = Field(
        description="The version, whose number the job goes on from: steps and epochs count from the other job's "
        "beginning."
    )
