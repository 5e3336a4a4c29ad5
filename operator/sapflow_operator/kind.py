"""What a custom resource of ours is to the operator: reconciler and controller know no kind but by this.

A new kind is a module beside `kinds/training_job.py` and a line in `kinds/registry.py`; its spec is in `sapflow/spec`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel

from sapflow.quantities.roles import Role
from sapflow_operator.conditions import FUNCTIONS_READY, PLANNED, SUCCEEDED, SUSPENDED
from sapflow_operator.growth import grown
from sapflow_operator.look import Look
from sapflow_operator.names import Resource
from sapflow_operator.nodes import Ground
from sapflow_operator.observed import JobObject, Observed
from sapflow_operator.settings import Settings
from sapflow_operator.wanted import Place, Wanted

AnyWanted = TypeVar("AnyWanted", bound=Wanted)


@dataclass(frozen=True)
class Definition:
    """What the CustomResourceDefinition says of a kind beside what all kinds have."""

    short_names: tuple[str, ...]
    description: str
    spec: type[BaseModel]
    spec_description: str
    made_from: str
    """The file that the models are in, for the header of what is generated."""
    mutable: tuple[str, ...]
    """Fields of the spec that may be changed; no other may."""
    rules: tuple[Mapping[str, Any], ...]
    """`x-kubernetes-validations` of the spec."""
    columns: tuple[Mapping[str, Any], ...]
    """What `kubectl get` prints, Age apart."""
    status: Mapping[str, Any]
    """The structural schema of `status`."""


class Kind(ABC, Generic[AnyWanted]):
    """One kind of resource. Its methods are pure; each is told all that it needs to know."""

    resource: ClassVar[Resource]
    roles: ClassVar[tuple[Role, ...]]
    """Of a pool's functions: a resource has Services of these and of no others."""
    kept: ClassVar[tuple[str, ...]] = ("startTime", "completionTime", "images", "memory", "result")
    """The operator's own fields of the status, conditions apart: all others are the driver's."""
    result: ClassVar[tuple[str, ...]] = ()
    """Fields of the outcome record that become `status.result`."""
    conditions: ClassVar[tuple[str, ...]] = (PLANNED, SUSPENDED, FUNCTIONS_READY, SUCCEEDED)
    """In the order in which their changes are told."""

    @property
    @abstractmethod
    def definition(self) -> Definition:
        """What the API server is told of the kind."""

    @abstractmethod
    def wanted(self, job: JobObject, status: Mapping[str, Any], settings: Settings) -> AnyWanted:
        """What a resource asks for, with the sizes in force; `status` is our part of it. Raises SpecError."""

    @abstractmethod
    def place_and_policy(self, job: JobObject, settings: Settings) -> tuple[Place, bool]:
        """Where a resource's objects are, and whether its result outlives it there. Raises SpecError."""

    @abstractmethod
    def describe(self, wanted: AnyWanted) -> str:
        """What is going to run, for the condition Planned."""

    def finished(self, outcome: Mapping[str, Any]) -> str:
        """What the condition Succeeded says of a resource that is done, with what its driver has left."""
        return f"done: {outcome['uri']}" if "uri" in outcome else "done"

    def sized(self, wanted: AnyWanted, look: Look) -> AnyWanted:
        """With the memory that functions are to have now."""
        for role in self.roles:
            if not look.failed:
                wanted = grown(wanted, role, look)
        return wanted

    def packed(self, wanted: AnyWanted, look: Look) -> AnyWanted:
        """With its functions packed into cells, where it has any. Raises SpecError."""
        return wanted

    def planned_on(self, wanted: AnyWanted, ground: Ground) -> AnyWanted:
        """With what its driver is told of the nodes when it starts."""
        return wanted

    def has_cells(self, job: JobObject) -> bool:
        """Whether a resource's functions are bound to nodes, so that volumes and nodes are to be looked at."""
        return False

    def asked(self, job: JobObject) -> str:
        """What a driver's report asks of the operator: a change of it alone calls for a look. '' for nothing."""
        return ""

    def remembered(self, job: JobObject) -> Mapping[str, Any]:
        """The part of the spec that `asked` and the queue read: no more of it is held of every resource."""
        return {}

    def asks_for_room(self, job: JobObject, observed: Observed) -> bool:
        """Whether its driver is about to start, and is to be told how many functions the nodes hold."""
        return False
