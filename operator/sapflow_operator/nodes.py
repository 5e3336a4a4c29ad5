"""The cluster's nodes: which accept pods, and how many functions they can hold. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from typing import Any

Object = Mapping[str, Any]
_BARRED = {"NoSchedule", "NoExecute"}
_UNITS: dict[str, Decimal | int] = {"": 1, "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3")}
_UNITS |= {unit: 10 ** (3 * power) for power, unit in enumerate("kMGTPE", 1)}
_UNITS |= {f"{unit}i": 1 << (10 * power) for power, unit in enumerate("KMGTPE", 1)}
_QUANTITY = re.compile(r"(?P<number>[0-9.]+([eE][+-]?[0-9]+)?)(?P<unit>[A-Za-z]{0,2})")


@dataclass(frozen=True, slots=True)
class Demand:
    """The requests of a pod: bytes, and thousandths of a CPU."""

    memory: int
    millis: int

    @classmethod
    def of(cls, pod: Object) -> "Demand":
        asked = [each.get("resources", {}).get("requests", {}) for each in pod["spec"].get("containers", ())]
        return cls(
            sum(int(amount(each.get("memory", "0"))) for each in asked),
            sum(int(1000 * amount(each.get("cpu", "0"))) for each in asked),
        )


@dataclass(frozen=True, slots=True)
class Node:
    """A node: whether it accepts pods, and its memory and CPU for pods."""

    name: str
    labels: Mapping[str, str]
    ready: bool
    cordoned: bool
    tainted: bool
    memory: int
    """Bytes."""
    millis: int
    """Thousandths of a CPU."""
    pods: int

    @classmethod
    def read(cls, body: Object) -> "Node":
        spec, status = body.get("spec", {}), body.get("status", {})
        free = status.get("allocatable", {})
        return cls(
            body["metadata"]["name"],
            body["metadata"].get("labels", {}),
            any(
                each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", ())
            ),
            bool(spec.get("unschedulable", False)),
            any(each.get("effect") in _BARRED for each in spec.get("taints", ())),
            int(amount(free.get("memory", "0"))),
            int(1000 * amount(free.get("cpu", "0"))),
            int(amount(free.get("pods", "0"))),
        )

    @property
    def schedulable(self) -> bool:
        return self.ready and not self.cordoned and not self.tainted

    def room(self, memory: int, millis: int) -> int:
        """The number of pods with these requests that fit on it, beside those that it is known to be `without`."""
        return max(0, min(self.memory // memory, self.millis // millis, self.pods))

    def without(self, demand: "Demand") -> "Node":
        """The node with less free, because a pod holds so much of it."""
        return replace(
            self,
            memory=self.memory - demand.memory,
            millis=self.millis - demand.millis,
            pods=self.pods - 1,
        )


@dataclass(frozen=True, slots=True)
class Inventory:
    """The nodes (None if the operator has not read them or may not) and, for a placed job, volumes by name."""

    nodes: Sequence[Node] | None = None
    volumes: Mapping[str, Object] = field(default_factory=dict)
    capacity: Sequence[Node] | None = None
    """The nodes with all that they have, if `nodes` are less what pods hold."""

    def room(self, memory: int, millis: int, beside: Sequence[Demand] = ()) -> int | None:
        """Like `Node.room`, for all nodes together, `beside` the pods that the job needs in any case.

        None if nodes are not known or none would hold such a pod even if it held nothing else: then nodes may be added.
        """
        if not any(
            node.schedulable and node.room(memory, millis) for node in self.capacity or self.nodes or ()
        ):
            return None
        usable = [node for node in self.nodes or () if node.schedulable]
        for demand in beside:
            usable.sort(key=lambda node: (node.memory, node.millis), reverse=True)
            usable[0] = usable[0].without(demand)
        return sum(node.room(memory, millis) for node in usable)

    def without(self, held: Sequence[tuple[str, Demand]]) -> "Inventory":
        """With less free on nodes that hold pods: pairs of a node's name and what a pod asks of it."""
        if self.nodes is None:
            return self
        found = {node.name: node for node in self.nodes}
        for name, demand in held:
            if name in found:
                found[name] = found[name].without(demand)
        return replace(self, nodes=list(found.values()), capacity=self.nodes)


def amount(quantity: str) -> Decimal:
    """The value of a quantity in any form that the API server may use; 0 if it is none.

    Kubelets and similar programs write memory in thousandths of a byte, and pods in thousands.
    """
    match = _QUANTITY.fullmatch(quantity)
    try:
        return Decimal(match["number"]) * _UNITS[match["unit"]] if match else Decimal(0)
    except (InvalidOperation, KeyError):
        return Decimal(0)
