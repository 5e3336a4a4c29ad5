"""What the children of one resource follow from: its pool of functions, its driver, its store. The kinds fill it in.

A pool owns functions, token, credentials, names and network policy; all that its functions write lies below one prefix.
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


@dataclass(frozen=True)
class Wanted(ABC):
    """One resource as its children are to be built."""

    name: str
    namespace: str
    uid: str
    place: Place
    settings: Settings

    resource: ClassVar[Resource]
    roles: ClassVar[tuple[Role, ...]]
    """Of the pool: a resource has functions of these and of no others."""
    driver_module: ClassVar[str]
    """The Python module that the driver's pod runs."""

    @property
    def pool(self) -> str:
        """What the names of all children begin with."""
        return self.resource.pool(self.name)

    @property
    @abstractmethod
    def groups(self) -> Sequence[Group]:
        """The Knative Services, each with how many instances can be of use."""

    @property
    @abstractmethod
    def documents(self) -> Mapping[str, str]:
        """The driver's files, by name."""

    @property
    @abstractmethod
    def told(self) -> object:
        """As a JSON value, all that a running driver would have to be told if it changed."""

    @property
    @abstractmethod
    def sizes(self) -> Mapping[Role, str]:
        """The memory limit of each role, as a Kubernetes quantity."""

    @abstractmethod
    def with_sizes(self, sizes: Mapping[Role, str]) -> Self:
        """With these memory limits."""

    @property
    def grows(self) -> bool:
        """Whether a function killed for memory is given more."""
        return False

    def more_memory(self, role: Role) -> str:
        """What a user can do about functions of a role that are killed for memory, as a sentence ends with it."""
        return f"raise spec.memory.{role}"

    @property
    def cpus(self) -> Mapping[Role, float | None]:
        """The CPU limit of each role that names one."""
        return {}

    @property
    @abstractmethod
    def threads(self) -> int:
        """Threads that each function computes with where a call does not say."""

    @property
    @abstractmethod
    def invocation_seconds(self) -> float:
        """The longest that a function may take for one call."""

    @property
    @abstractmethod
    def source(self) -> str:
        """What the functions may read beside their own prefix: an s3:// URL, or anything else for nothing."""

    @property
    def placed(self) -> Placement | None:
        """How the functions are packed into cells; None where they may run anywhere."""
        return None

    def image(self, role: Role) -> Image:
        """What the functions of a role run."""
        return self.settings.image(role)

    def command(self, role: Role) -> list[str]:
        """What a container of the role runs; nothing where its image says that."""
        return []

    def environment(self, role: Role) -> dict[str, str]:
        """Variables of a role's functions beside those that all pools have."""
        return {}

    def weight(self, role: Role) -> int:
        """Of a placed job: how much it matters that such a function is beside the others of its cell, 1 to 100."""
        return 1

    def cell_storage(self) -> tuple[str, str | None]:
        """Of a placed job: the size of a cell's volume, and its storage class where one is named."""
        raise NotImplementedError

    def labels(self, role: str | None = None, cell: int | None = None) -> dict[str, str]:
        """The labels of a child."""
        return {**names.labels(self.name, role, cell), **self.resource.labels}

    @property
    def selector(self) -> dict[str, str]:
        """The labels that all children have and nobody else's."""
        return {names.JOB_LABEL: self.name, **self.resource.labels}

    @property
    def digest(self) -> str:
        """Changes with everything that a running driver would have to be told."""
        return keys.digest([self.told, self.settings.operator_image.name])

    def memory(self, role: Role) -> str:
        return self.sizes[role]

    def cpu_limit(self, role: Role) -> int:
        """Thousandths of a CPU: where none is named, what comes with the memory on public clouds."""
        named = self.cpus.get(role)
        if named is not None:
            return round(1000 * named)
        return ceil(1000 * vcpus_of(AWS_LAMBDA, parse_quantity(self.memory(role))))

    def cpu_request(self, role: Role) -> int:
        """A tenth of the limit."""
        return ceil(self.cpu_limit(role) / 10)

    def with_room_for(self, instances: int) -> Self:
        """With the functions that the cluster can run at once, for the planner; 0: any number."""
        return replace(self, settings=self.settings.model_copy(update={"max_instances": instances}))


def place_of(asked: StorageSpec | None, settings: Settings) -> Place:
    """Where a resource's state goes. Raises SpecError where that is nowhere, or not with whose credentials."""
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
    """`spec.storage` as a driver is told it: where the store is, and nothing of credentials."""
    return {"endpoint": place.endpoint, "bucket": place.bucket, "region": place.region}


def services(wanted: Wanted) -> list[str]:
    """The names of the pool's Knative Services."""
    return [names.function(wanted.pool, group.role, group.cell) for group in wanted.groups]
