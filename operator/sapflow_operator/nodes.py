"""The cluster's nodes: which take pods, and how many functions have room on them. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sapflow.memory import parse_quantity
from sapflow_operator import cpu

Object = Mapping[str, Any]
_BARRED = {"NoSchedule", "NoExecute"}


@dataclass(frozen=True, slots=True)
class Node:
    """A node: whether it takes pods, and what they may have of it together."""

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
        allocatable = status.get("allocatable", {})
        return cls(
            body["metadata"]["name"],
            body["metadata"].get("labels", {}),
            any(
                each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", ())
            ),
            bool(spec.get("unschedulable", False)),
            any(each.get("effect") in _BARRED for each in spec.get("taints", ())),
            parse_quantity(allocatable.get("memory", "1")),
            cpu.parse(allocatable.get("cpu", "0")),
            int(allocatable.get("pods", "0")),
        )

    @property
    def schedulable(self) -> bool:
        return self.ready and not self.cordoned and not self.tainted

    def room(self, memory: int, millis: int) -> int:
        """Pods that ask for so much each that it would hold if it held nothing else."""
        return min(self.memory // memory, self.millis // millis, self.pods)


@dataclass(frozen=True, slots=True)
class Ground:
    """What jobs stand on: nodes, None where the operator has not read them or may not; of a placed job, volumes by
    name, too."""

    nodes: Sequence[Node] | None = None
    volumes: Mapping[str, Object] = field(default_factory=dict)

    def room(self, memory: int, millis: int) -> int | None:
        """As `Node.room`, of all nodes together; None where nobody knows, or none is there yet."""
        usable = [node for node in self.nodes or () if node.schedulable]
        return sum(node.room(memory, millis) for node in usable) or None
