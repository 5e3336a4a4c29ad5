"""spec.parametersFrom: the search whose best trial's parameters a job is trained with."""

from typing import Annotated

from pydantic import Field

from sapflow.spec.types import Model, ObjectName


class ParametersFromSpec(Model):
    """A search of the same store, which has ended; a job waits for one that has not."""

    search: ObjectName = Field(
        description="The search: in a cluster the name of a TuningJob of the same namespace, in a local run one of the "
        "same file, or its name in the store."
    )
    trial: Annotated[int, Field(ge=0, lt=100_000_000)] | None = Field(
        None,
        description="The trial whose parameters are taken; left out: the best one, when the search has ended.",
    )
