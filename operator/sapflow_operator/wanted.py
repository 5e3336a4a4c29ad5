"""A job as its children are to be built: the spec in force, the store, the operator's settings."""

from dataclasses import dataclass, replace
from math import ceil
from typing import Any, get_args
from urllib.parse import urlencode

from sapflow.errors import SpecError
from sapflow.objects import keys
from sapflow.planning.placement import Placement
from sapflow.quantities.memory import MIB, format_quantity, parse_quantity
from sapflow.quantities.prices import AWS_LAMBDA, vcpus_of
from sapflow.quantities.roles import Role
from sapflow.records.memory_search import SearchSettings
from sapflow.spec.resolved import ResolvedJob
from sapflow.spec.rules import s3_location
from sapflow.spec.training_job import Metadata, StorageSpec, TrainingJob
from sapflow_operator.nodes import Ground
from sapflow_operator.settings import Settings

SIDECAR_MILLIS = 25
"""What Knative's queue-proxy asks for beside each function (`queue-sidecar-cpu-request`)."""


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket, and whose credentials open it: those of a Secret beside the job, or (None) the operator's own."""

    endpoint: str
    bucket: str
    region: str
    secret_name: str | None = None
    share: bool = False

    @property
    def url(self) -> str:
        options = urlencode({"endpoint": self.endpoint, "region": self.region})
        return f"s3://{self.bucket}?{options}"


@dataclass(frozen=True, slots=True)
class Group:
    """The functions of one role, of a placed job those in one cell; at most `instances` of them."""

    role: Role
    cell: int | None
    instances: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a job's children follow from."""

    name: str
    namespace: str
    uid: str
    job: TrainingJob
    """The spec in force: memory sizes may have grown since it was written."""
    place: Place
    settings: Settings
    search: SearchSettings | None = None
    """For the workers' best size: then `job` has the size in force, and driver and functions read the first one, so
    that no change of it starts a driver anew."""
    placed: Placement | None = None
    """How the functions are packed into cells, once that is decided; None where they may run anywhere."""

    @property
    def groups(self) -> list[Group]:
        """The Knative Services, each with how many instances a step can use."""
        roles: tuple[Role, ...] = get_args(Role)
        if self.placed is None:
            return [Group(role, None, self.job.instances[role]) for role in roles]
        return [
            Group(role, cell, count)
            for cell in range(self.placed.count)
            for role, count in self.placed.instances(cell).items()
            if count
        ]

    @property
    def resolved(self) -> ResolvedJob:
        """The job as driver and functions read it: in its store, and named by its uid there."""
        spec, place = self.job.spec, self.place
        update: dict[str, Any] = {
            "storage": StorageSpec(endpoint=place.endpoint, bucket=place.bucket, region=place.region)
        }
        if self.search is not None:
            start = format_quantity(self.search.start * MIB)
            update["memory"] = spec.memory.model_copy(update={"worker": start})
        metadata = Metadata.model_validate({"name": self.name, "namespace": self.namespace, "uid": self.uid})
        job = self.job.model_copy(update={"metadata": metadata, "spec": spec.model_copy(update=update)})
        return ResolvedJob(job, keys.job(self.uid), "kubernetes", self.search)

    @property
    def digest(self) -> str:
        """Changes with everything that a running driver would have to be told."""
        return keys.digest([self.resolved.to_json(), self.settings.operator_image.name])

    def memory(self, role: Role) -> str:
        sizes = self.job.spec.memory
        return sizes.worker if role == "worker" else sizes.merger

    def cpu_limit(self, role: Role) -> int:
        """Thousandths of a CPU: where the spec names none, what comes with the memory on public clouds."""
        named = self.job.cpus[role]
        if named is not None:
            return round(1000 * named)
        return ceil(1000 * vcpus_of(AWS_LAMBDA, parse_quantity(self.memory(role))))

    def cpu_request(self, role: Role) -> int:
        """A tenth of the limit."""
        return ceil(self.cpu_limit(role) / 10)

    def on(self, ground: Ground) -> "Wanted":
        """With the workers that the nodes would hold as `maxInstances`, where the chart names none."""
        memory, millis = parse_quantity(self.memory("worker")), self.cpu_request("worker") + SIDECAR_MILLIS
        room = self.settings.max_instances or ground.room(memory, millis)
        return replace(self, settings=self.settings.model_copy(update={"max_instances": room or 0}))


def place_of(job: TrainingJob, settings: Settings) -> Place:
    """Where a job's state goes. Raises SpecError where that is nowhere, or not with whose credentials."""
    asked, own = job.spec.storage, settings.storage
    if asked is None:
        if own is None:
            remedy = "name a store here, or have objectStorage set in the operator's chart"
            raise SpecError(
                [("spec.storage", f"is required, because the operator has no store of its own: {remedy}")]
            )
        return Place(own.endpoint.rstrip("/"), own.bucket, own.region)
    place = Place(
        asked.endpoint.rstrip("/"), asked.bucket, asked.region, asked.secret_name, asked.share_credentials
    )
    if place.secret_name is None and (
        own is None or (place.endpoint, place.bucket) != (own.endpoint.rstrip("/"), own.bucket)
    ):
        message = (
            "is required for a store that is not the operator's own: name a Secret of this namespace with the keys "
            "access-key and secret-key"
        )
        raise SpecError([("spec.storage.secretName", message)])
    return place


def check(wanted: Wanted) -> None:
    """What only the cluster can tell of a spec. Raises SpecError."""
    problems = []
    seconds, most = wanted.job.spec.limits.invocation_seconds, wanted.settings.max_invocation_seconds
    if seconds > most:
        message = (
            f"is {seconds:g}, and Knative allows {most} here: work that needs longer goes on in the next"
        )
        problems.append(("spec.limits.invocationSeconds", message))
    location = s3_location(wanted.job.spec.data.source)
    if location is not None and location[2]:
        endpoint = location[2].get("endpoint", "").rstrip("/")
        if endpoint != wanted.place.endpoint:
            message = (
                f"must be in the job's own store, {wanted.place.endpoint}: leave out what follows the '?'"
            )
            problems.append(("spec.data.source", message))
    if problems:
        raise SpecError(problems)
