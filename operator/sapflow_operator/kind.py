"""The interface of kinds of custom resources that have a driver. Reconciler and controller know a kind only through it.

A new one is a module beside `kinds/training_job.py` and a line in `kinds/registry.py`. Its spec is in `sapflow/spec`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel

from sapflow.quantities.roles import Role
from sapflow_operator.conditions import FUNCTIONS_READY, PLANNED, SUCCEEDED, SUSPENDED
from sapflow_operator.growth import grown
from sapflow_operator.names import Resource
from sapflow_operator.nodes import Inventory
from sapflow_operator.observed import JobObject, Observed
from sapflow_operator.origin import OriginRequest
from sapflow_operator.reconciliation import Reconciliation
from sapflow_operator.settings import Settings
from sapflow_operator.wanted import Place, Wanted

AnyWanted = TypeVar("AnyWanted", bound=Wanted)
ACTIVE = ("activeSince", "activeSeconds")
"""The fields of the status that `active_time` changes."""


@dataclass(frozen=True)
class Definition:
    """The parts of a CustomResourceDefinition that differ between kinds."""

    short_names: tuple[str, ...]
    description: str
    spec: type[BaseModel]
    spec_description: str
    made_from: str
    """The file with the models, for the header of the generated CRD."""
    mutable: tuple[str, ...]
    """The fields of the spec that may be changed."""
    rules: tuple[Mapping[str, Any], ...]
    """`x-kubernetes-validations` of the spec."""
    columns: tuple[Mapping[str, Any], ...]
    """The columns of `kubectl get`, without Age."""
    status: Mapping[str, Any]
    """The structural schema of `status`."""
    conditional: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """The fields that may be changed only where something holds: what, in CEL, and what to say otherwise."""
    inner_rules: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    """`x-kubernetes-validations` of fields within the spec, by their paths, such as those of a template's own spec."""
    condition: str = "Succeeded"
    """The condition whose status and reason are the first columns."""
    served: bool = True
    """Whether the operator serves it: then it has conditions, a status of its own, and a name from which others are
    made."""


class Kind(ABC, Generic[AnyWanted]):
    """A kind of resource that has a driver. Its methods are pure."""

    resource: ClassVar[Resource]
    roles: ClassVar[tuple[Role, ...]]
    """The roles that functions of a resource may have; its `wanted` says which it has."""
    kept: ClassVar[tuple[str, ...]] = (
        "startTime",
        "completionTime",
        "images",
        "memory",
        "result",
        "checkpoint",
        "serving",
        *ACTIVE,
    )
    """The operator's fields of the status, without conditions. All others belong to the driver."""
    result: ClassVar[tuple[str, ...]] = ()
    """The fields of the outcome record that become `status.result`."""
    leaves_model: ClassVar[bool] = False
    """Whether the driver of one that is suspended has a function write its model: then functions end after it."""
    reopens: ClassVar[bool] = False
    """Whether one that has ended may go on with another spec: see `goes_on`."""
    parts: ClassVar[Resource | None] = None
    """The resources that its driver makes, with finalizers (names.TRIAL_FINALIZER) that a driver takes off, too."""
    storage_field: ClassVar[str] = "spec.storage"
    """The field of the spec that says where its objects are."""
    conditions: ClassVar[tuple[str, ...]] = (PLANNED, SUSPENDED, FUNCTIONS_READY, SUCCEEDED)
    """The conditions, in the order of their events."""

    @property
    @abstractmethod
    def definition(self) -> Definition:
        """The definition of the kind for the API server."""

    @abstractmethod
    def wanted(self, job: JobObject, status: Mapping[str, Any], settings: Settings) -> AnyWanted:
        """What a resource needs, with the current memory sizes; `status` is our part of it. Raises SpecError."""

    @abstractmethod
    def place_and_policy(self, job: JobObject, settings: Settings) -> tuple[Place, bool]:
        """The place of a resource's objects, and whether its result stays after deletion. Raises SpecError."""

    @abstractmethod
    def describe(self, wanted: AnyWanted) -> str:
        """A description of what will run, for the condition Planned."""

    def finished(self, outcome: Mapping[str, Any]) -> str:
        """The message of the condition Succeeded for a finished resource, from its driver's outcome record."""
        return f"done: {outcome['uri']}" if "uri" in outcome else "done"

    def reason(self, outcome: Mapping[str, Any]) -> str:
        """The reason of the condition Succeeded for a finished resource."""
        return "Completed"

    def results(self, outcome: Mapping[str, Any]) -> dict[str, Any]:
        """`status.result` of a finished resource."""
        return {name: outcome[name] for name in self.result if name in outcome}

    def goes_on(self, job: JobObject) -> bool:
        """Whether a resource that has ended is to go on, because its spec allows more than when it ended."""
        return False

    def stopped(self, job: JobObject) -> dict[str, Any] | None:
        """`status.checkpoint` of a resource that is suspended, as its driver has reported it; None: it has not."""
        return None

    def exported(self, job: JobObject) -> str:
        """How to get the model of a resource that no driver is at work for; '' if it has none."""
        return ""

    def sized(self, wanted: AnyWanted, reconciliation: Reconciliation) -> AnyWanted:
        """With the memory that functions are to have now."""
        for role in wanted.roles:
            if not reconciliation.failed:
                wanted = grown(wanted, role, reconciliation)
        return wanted

    def packed(self, wanted: AnyWanted, reconciliation: Reconciliation) -> AnyWanted:
        """With its functions packed into cells, if it has any. Raises SpecError."""
        return wanted

    def no_room(self, wanted: AnyWanted, inventory: Inventory) -> str:
        """Why it is no use to start the driver now: the nodes have no room for its functions; '' if they may have."""
        return ""

    def planned_on(self, wanted: AnyWanted, inventory: Inventory) -> AnyWanted:
        """With the facts about nodes that its driver gets when it starts."""
        return wanted

    def has_cells(self, job: JobObject) -> bool:
        """Whether a resource's functions are bound to nodes, so that volumes and nodes must be read."""
        return False

    def at_work_on(self, job: JobObject) -> str:
        """What a driver does before it begins with what it is for, as it has reported it; '' if it has begun."""
        return ""

    def asked(self, job: JobObject) -> str:
        """The request in a driver's report, '' if none. A report causes a reconciliation only if it changes."""
        return ""

    def remembered(self, job: JobObject) -> Mapping[str, Any]:
        """The part of the spec that `asked` and the queue need. Only this is kept in memory for every resource."""
        return {}

    def origin(self, job: JobObject) -> OriginRequest | None:
        """What must be looked up of another resource before the job is planned; None if there is nothing, or the status
        knows it already."""
        return None

    def waits_for(self, job: JobObject) -> tuple[str, str] | None:
        """The kind and the name of another resource without whose result the job cannot be planned; None: of none."""
        return None

    def shares(self, job: JobObject) -> bool:
        """Whether it is yet to be decided where its data lies, and it may lie in a shared area."""
        return False

    def asks_for_room(self, job: JobObject, observed: Observed) -> bool:
        """Whether its driver is about to start and needs to know how many functions the nodes hold."""
        return False
