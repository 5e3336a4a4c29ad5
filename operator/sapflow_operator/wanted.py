"""The wanted state of a resource, from which its children follow: its pool of functions, driver and store.

A pool owns functions, token, credentials, names and network policy. All that its functions write is below one prefix.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any, ClassVar, Self
from urllib.parse import urlencode

from sapflow.errors import SpecError
from sapflow.objects import keys
from sapflow.planning.placement import Placement
from sapflow.quantities import cpu_limits
from sapflow.quantities.memory import parse_quantity
from sapflow.quantities.roles import Role
from sapflow.spec.pods import PodsSpec
from sapflow.spec.training_job import StorageSpec, TrainingJob
from sapflow_operator import names
from sapflow_operator.names import Resource
from sapflow_operator.settings import Image, Settings


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket, and the Secret with its credentials in the job's namespace; None means the operator's credentials."""

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
    """At most `instances` functions of one role; for a placed job those in one cell."""

    role: Role
    cell: int | None
    instances: int
    in_bursts: bool = False
    """Whether its calls come all at once with pauses between, as those of a step's workers do."""


@dataclass(frozen=True)
class Owned:
    """What the builders of children need of every resource."""

    name: str
    namespace: str
    uid: str
    place: Place
    settings: Settings

    resource: ClassVar[Resource]

    @property
    def pool(self) -> str:
        """The beginning of the names of all children."""
        return self.resource.pool(self.name)

    @property
    def keeps_result(self) -> bool:
        """Whether result and last checkpoint stay in the store when the resource is deleted."""
        return True

    @property
    def pods(self) -> PodsSpec:
        """The user's additions to the pods."""
        return PodsSpec()

    def labels(self, role: str | None = None, cell: int | None = None) -> dict[str, str]:
        """The labels of a child."""
        own = {names.UID_LABEL: self.uid, **self.resource.labels}
        return {**names.labels(self.name, role, cell), **own}

    @property
    def selector(self) -> dict[str, str]:
        """The labels that exactly the children of this resource have."""
        return {names.JOB_LABEL: self.name, **self.resource.labels}


@dataclass(frozen=True)
class Wanted(Owned, ABC):
    """A resource with a driver, as the builders of its children need it."""

    queue: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    """The resource's labels by which Kueue knows jobs; the driver's Job gets them."""

    driver_module: ClassVar[str]
    """The Python module that the driver's pod runs."""
    deadline_field: ClassVar[str] = "spec.limits.deadlineSeconds"
    """The field that says `deadline_seconds`."""

    @property
    def rights(self) -> Sequence[Mapping[str, Any]]:
        """The driver's rights in the namespace beside those to its resource's status, as rules of a Role."""
        return ()

    @property
    @abstractmethod
    def roles(self) -> Sequence[Role]:
        """The roles of the pool's functions."""

    @property
    @abstractmethod
    def groups(self) -> Sequence[Group]:
        """The Knative Services, each with the number of useful instances."""

    @property
    @abstractmethod
    def documents(self) -> Mapping[str, str]:
        """The driver's files, by name."""

    @property
    @abstractmethod
    def told(self) -> object:
        """A JSON value with everything whose change requires a new driver."""

    @property
    @abstractmethod
    def sizes(self) -> Mapping[Role, str]:
        """The memory limit of each role, as a Kubernetes quantity."""

    @abstractmethod
    def with_sizes(self, sizes: Mapping[Role, str]) -> Self:
        """With these memory limits."""

    @property
    def deadline_seconds(self) -> float | None:
        """The most seconds that it may be active; None if there is no limit."""
        return None

    @property
    def grows(self) -> bool:
        """Whether functions that were killed for memory get more."""
        return False

    def more_memory(self, role: Role) -> str:
        """The end of a sentence that says what a user can do if functions of a role are killed for memory."""
        return f"raise spec.memory.{role}"

    @property
    def cpus(self) -> Mapping[Role, float | None]:
        """The CPU limit of each role that names one."""
        return {}

    @property
    def cpu_by_memory(self) -> bool:
        """Whether functions that name no CPU limit have exactly what comes with their memory, and not one CPU."""
        return False

    @property
    @abstractmethod
    def threads(self) -> int:
        """The number of threads of each function, unless a call sets it."""

    @property
    @abstractmethod
    def invocation_seconds(self) -> float:
        """The time limit of a call."""

    @property
    @abstractmethod
    def source(self) -> str:
        """The s3:// URL that functions may read in addition to their own prefix; any other text means none."""

    @property
    def validation(self) -> str:
        """A second such URL; '' means none."""
        return ""

    @property
    def objects(self) -> Sequence[str]:
        """The s3:// URLs of single objects that functions may read, too."""
        return ()

    @property
    def origin(self) -> Sequence[str]:
        """The keys of another job's objects, or patterns of them, that functions may read; none: ()."""
        return ()

    @property
    def area(self) -> str | None:
        """The digest of the shared area that has its data; None if the data lies below its own prefix."""
        return None

    @property
    def data_job(self) -> TrainingJob | None:
        """The job whose data may lie in a shared area; None if it has no data of that kind."""
        return None

    @property
    def without_user_code(self) -> bool:
        """Whether its functions run nothing but Sapflow's images as they are.

        A user's image, code or environment could write anything with a function's credentials.
        """
        return False

    @property
    def placed(self) -> Placement | None:
        """The packing of functions into cells; None if they may run anywhere."""
        return None

    def image(self, role: Role) -> Image:
        """The image of the functions of a role."""
        return self.settings.image(role)

    def command(self, role: Role) -> list[str]:
        """The command of a container of the role; empty if its image has the right one."""
        return []

    def environment(self, role: Role) -> dict[str, str]:
        """Environment variables of a role's functions, in addition to those that all pools have."""
        return {}

    def weight(self, role: Role) -> int:
        """For a placed job: the weight, 1 to 100, with which such a function is kept beside the others of its cell."""
        return 1

    def cell_storage(self) -> tuple[str, str | None]:
        """For a placed job: the size of a cell's volume, and its storage class if the job names one."""
        raise NotImplementedError

    @property
    def digest(self) -> str:
        """A digest that changes with everything whose change requires a new driver."""
        return keys.digest([self.told, self.settings.operator_image.name])

    def memory(self, role: Role) -> str:
        return self.sizes[role]

    def cpu_limit(self, role: Role, memory_bytes: int | None = None) -> int:
        """The CPU limit in thousandths of a function that is ready; `memory_bytes` defaults to its role's memory."""
        memory = parse_quantity(self.memory(role)) if memory_bytes is None else memory_bytes
        return _millis(cpu_limits.limit(memory, self.cpus.get(role), by_memory=self.cpu_by_memory))

    def cpu_at_start(self, role: Role) -> int:
        """The CPU limit in thousandths with which a pod is created.

        Where pods can be resized in place, that is at least one CPU unless the job names a limit; the operator lowers
        it once the function is ready.
        """
        if not self.settings.resizes:
            return self.cpu_limit(role)
        return _millis(cpu_limits.limit(parse_quantity(self.memory(role)), self.cpus.get(role)))

    def cpu_request(self, role: Role) -> int:
        """The CPU request in thousandths: a tenth of the named limit, or of what comes with the memory."""
        return ceil(_millis(cpu_limits.share(parse_quantity(self.memory(role)), self.cpus.get(role))) / 10)

    def with_room_for(self, instances: int) -> Self:
        """With the number of functions that the cluster can run at once, for the planner; 0 means any number."""
        return replace(self, settings=self.settings.model_copy(update={"max_instances": instances}))


def place_of(asked: StorageSpec | None, settings: Settings) -> Place:
    """The place of a resource's state. Raises SpecError if there is no store, or no credentials for it."""
    own = settings.storage
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


def stored(place: Place) -> dict[str, Any]:
    """The `spec.storage` for a driver: the place of the store, without credentials."""
    return {"endpoint": place.endpoint, "bucket": place.bucket, "region": place.region}


def services(wanted: Wanted) -> list[str]:
    """The names of the pool's Knative Services."""
    return [names.function(wanted.pool, group.role, group.cell) for group in wanted.groups]


def _millis(cpus: float) -> int:
    """Thousandths of a CPU, rounded up; 1.1 CPUs are not 1101 because of binary fractions."""
    return ceil(round(1000 * cpus, 6))
