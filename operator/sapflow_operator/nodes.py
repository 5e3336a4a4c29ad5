"""The cluster's nodes: which accept pods, and how many functions they can hold. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

Object = Mapping[str, Any]
_BARRED = {"NoSchedule", "NoExecute"}
_UNITS: dict[str, Decimal | int] = {"": 1, "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3")}
_UNITS |= {unit: 10 ** (3 * power) for power, unit in enumerate("kMGTPE", 1)}
_UNITS |= {f"{unit}i": 1 << (10 * power) for power, unit in enumerate("KMGTPE", 1)}
_QUANTITY = re.compile(r"(?P<number>[0-9.]+([eE][+-]?[0-9]+)?)(?P<unit>[A-Za-z]{0,2})")


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
        """The number of pods with these requests that it could hold if it held nothing else."""
        return min(self.memory // memory, self.millis // millis, self.pods)


@dataclass(frozen=True, slots=True)
class Inventory:
    """The nodes (None if the operator has not read them or may not) and, for a placed job, volumes by name."""

    nodes: Sequence[Node] | None = None
    volumes: Mapping[str, Object] = field(default_factory=dict)

    def room(self, memory: int, millis: int) -> int | None:
        """Like `Node.room`, for all nodes together; None if nodes are not known or there are none yet."""
        usable = [node for node in self.nodes or () if node.schedulable]
        return sum(node.room(memory, millis) for node in usable) or None


def amount(quantity: str) -> Decimal:
    """The value of a quantity in any form that the API server may use; 0 if it is none.

    Kubelets and similar programs write memory in thousandths of a byte, and pods in thousands.
    """
    match = _QUANTITY.fullmatch(quantity)
    try:
        return Decimal(match["number"]) * _UNITS[match["unit"]] if match else Decimal(0)
    except (InvalidOperation, KeyError):
        return Decimal(0)
