"""The wanted state of a resource, from which its children follow: its pool of functions, driver and store.

A pool owns functions, token, credentials, names and network policy. All that its functions write is below one prefix.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, ClassVar, Self
from urllib.parse import urlencode

from sapflow.errors import SpecError
from sapflow.objects import keys
from sapflow.planning.placement import Placement
from sapflow.quantities.memory import parse_quantity
from sapflow.quantities.prices import AWS_LAMBDA, vcpus_of
from sapflow.quantities.roles import Role
from sapflow.spec.training_job import StorageSpec
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


@dataclass(frozen=True)
class Wanted(ABC):
    """A resource, as the builders of its children need it."""

    name: str
    namespace: str
    uid: str
    place: Place
    settings: Settings

    resource: ClassVar[Resource]
    roles: ClassVar[tuple[Role, ...]]
    """The roles of the pool's functions."""
    driver_module: ClassVar[str]
    """The Python module that the driver's pod runs."""

    @property
    def pool(self) -> str:
        """The beginning of the names of all children."""
        return self.resource.pool(self.name)

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

    def labels(self, role: str | None = None, cell: int | None = None) -> dict[str, str]:
        """The labels of a child."""
        return {**names.labels(self.name, role, cell), **self.resource.labels}

    @property
    def selector(self) -> dict[str, str]:
        """The labels that exactly the children of this resource have."""
        return {names.JOB_LABEL: self.name, **self.resource.labels}

    @property
    def digest(self) -> str:
        """A digest that changes with everything whose change requires a new driver."""
        return keys.digest([self.told, self.settings.operator_image.name])

    def memory(self, role: Role) -> str:
        return self.sizes[role]

    def cpu_limit(self, role: Role) -> int:
        """The CPU limit in thousandths; if the job names none, it is what comes with the memory on public clouds."""
        named = self.cpus.get(role)
        if named is not None:
            return round(1000 * named)
        return ceil(1000 * vcpus_of(AWS_LAMBDA, parse_quantity(self.memory(role))))

    def cpu_request(self, role: Role) -> int:
        """The CPU request in thousandths: a tenth of the limit."""
        return ceil(self.cpu_limit(role) / 10)

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
