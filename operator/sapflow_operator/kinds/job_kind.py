"""What kinds have in common whose pool trains: TrainingJob, and TuningJob with its template of one."""

from typing import Any, ClassVar, TypeVar

from pydantic import ValidationError

from sapflow.errors import SpecError
from sapflow.quantities.roles import ALL_ROLES, TRAINING_ROLES, Role
from sapflow.spec.training_job import StorageSpec
from sapflow_operator import names
from sapflow_operator.conditions import SUCCEEDED
from sapflow_operator.kind import Kind
from sapflow_operator.kinds.job_pool import JobPool
from sapflow_operator.nodes import Inventory
from sapflow_operator.observed import JobObject, Observed
from sapflow_operator.settings import Settings
from sapflow_operator.wanted import Place, place_of

AnyPool = TypeVar("AnyPool", bound=JobPool)


class JobKind(Kind[AnyPool]):
    """A kind whose driver needs to know how many workers the nodes have room for."""

    roles: ClassVar[tuple[Role, ...]] = ALL_ROLES

    def no_room(self, wanted: AnyPool, inventory: Inventory) -> str:
        if wanted.settings.max_instances or wanted.room(inventory) != 0:
            return ""
        return "waits: nodes have no room for its driver and functions beside those of other jobs"

    def shares(self, job: JobObject) -> bool:
        # One that has started without a record was started by a release without shared areas, or shares nothing.
        return "startTime" not in job.status and "sharedData" not in job.status

    def at_work_on(self, job: JobObject) -> str:
        prepared = job.status.get("progress", {}).get("preparation", {})
        return str(prepared.get("stage", ""))

    def planned_on(self, wanted: AnyPool, inventory: Inventory) -> AnyPool:
        return wanted.on(inventory)

    def asks_for_room(self, job: JobObject, observed: Observed) -> bool:
        if self.has_cells(job):
            return False
        services = [names.function(job.pool, role) for role in TRAINING_ROLES]
        return observed.driver(job.pool).state == "absent" and observed.known(services)


def may_ask(job: JobObject) -> bool:
    """Whether it is yet to be looked up what a resource begins with of another one."""
    ended = any(
        each["type"] == SUCCEEDED and each["status"] != "Unknown" for each in job.status.get("conditions", ())
    )
    return not (job.suspended or ended or "origin" in job.status)


def stored_at(given: Any, settings: Settings) -> tuple[Place, bool]:
    """The place that a spec's `storage` says, and whether results stay there. Raises SpecError."""
    try:
        # Of nothing but the storage: the rest of a spec may not parse any more.
        storage = None if given is None else StorageSpec.model_validate(given)
    except ValidationError as error:
        raise SpecError([("spec.storage", str(error))]) from error
    return place_of(storage, settings), storage is None or storage.deletion_policy == "Retain"
