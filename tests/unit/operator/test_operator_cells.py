"""Cells of placed jobs in the operator: how many, where, and what is done where one is lost."""

from typing import Any

import pytest
from test_operator_reconcile import NOW, World, pod

from sapflow.errors import SpecError
from sapflow.spec.document import parse
from sapflow_operator import names
from sapflow_operator.actions import Apply, Delete, Plan
from sapflow_operator.cells import decide, lost
from sapflow_operator.kinds.training_job import TRAINING_JOB
from sapflow_operator.nodes import Inventory, Node
from sapflow_operator.observed import Observed
from sapflow_operator.reconcile import plan_deletion

AFFINITY = [
    {"from": "Worker", "to": "Merger", "weight": 100},
    {"from": "Merger", "to": "Root", "weight": 20},
]
SERVICES = ["a-worker-0", "a-merger-0", "a-worker-1", "a-merger-1"]


def node(name: str, **changes: Any) -> Node:
    given: dict[str, Any] = {
        "ready": True,
        "cordoned": False,
        "tainted": False,
        "memory": 8 << 30,
        "millis": 4000,
        "pods": 110,
    }
    given |= changes
    return Node(name, {"kubernetes.io/hostname": name}, **given)


def volume(name: str, home: str) -> dict[str, Any]:
    expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": [home]}
    terms = [{"matchExpressions": [expression]}]
    return {
        "metadata": {"name": name},
        "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}},
    }


def cells_pod(cell: int, home: str | None, name: str = "p", *, waits: bool = False) -> dict[str, Any]:
    made = pod("worker", phase="Running" if home else "Pending")
    made["metadata"] |= {"name": name}
    made["metadata"]["labels"][names.CELL_LABEL] = str(cell)
    made["spec"] = {**made.get("spec", {}), **({"nodeName": home} if home else {})}
    if waits:
        why = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no node"}
        made["status"]["conditions"] = [why]
    return made


class Placed(World):
    """A cluster of one placed job on two nodes."""

    def __init__(self, **spec: Any) -> None:
        super().__init__(affinity=AFFINITY, **({"workers": 8, "merge": {"structure": [1, 2, 8]}} | spec))
        self.nodes: list[Node] | None = [node("one"), node("two")]
        self.volumes: dict[str, dict[str, Any]] = {}

    @property
    def observed(self) -> Observed:
        inventory = Inventory(self.nodes, self.volumes)
        return Observed(self.objects, self.pods, self.outcome, inventory)

    def bind(self, cell: int, home: str) -> None:
        """What scheduler and binder do for a cell's first pod."""
        name = f"volume-{len(self.volumes)}"
        self.volumes[name] = volume(name, home)
        claim = self.objects["PersistentVolumeClaim", f"a-cell-{cell}"]
        claim["spec"]["volumeName"] = name
        claim["status"] = {"phase": "Bound"}

    def running(self) -> None:
        self.settle()
        for cell, home in enumerate(("one", "two")):
            self.bind(cell, home)
            self.pods.append(cells_pod(cell, home, f"p{cell}"))
        self.settle()

    def names_of(self, kind: str) -> list[str]:
        return [name for each, name in self.objects if each == kind]


def job(**placement: Any) -> Any:
    return parse(Placed(placement=placement).job.document, "kubernetes")


def test_there_are_as_many_cells_as_nodes_that_take_pods_each_as_large_as_the_smallest() -> None:
    nodes = [
        node("one", memory=3 << 30),
        node("two", memory=2 << 30),
        node("cordoned", cordoned=True, memory=1),
        node("dead", ready=False),
        node("control", tainted=True),
    ]
    assert decide(job(), Inventory(nodes)) == {"cells": 2, "memoryPerCell": "2Gi"}
    assert decide(job(cells=3), Inventory(nodes))["cells"] == 3
    assert decide(job(memoryPerCell="1Gi"), Inventory(nodes))["memoryPerCell"] == "1Gi"
    assert decide(job(), Inventory([node(f"n{index}") for index in range(20)]))["cells"] == 8, "workers"


def test_where_nodes_may_not_be_read_the_job_must_name_its_cells() -> None:
    with pytest.raises(SpecError, match=r"rbac\.nodes"):
        decide(job(), Inventory(None))
    assert decide(job(cells=2), Inventory(None)) == {"cells": 2}


def test_a_placed_job_gets_a_claim_and_services_for_each_cell_and_its_status_says_where_they_are() -> None:
    world = Placed()
    world.settle()
    assert world.names_of("PersistentVolumeClaim") == ["a-cell-0", "a-cell-1"]
    assert world.names_of("Service") == SERVICES
    assert world.status["placement"] == {"cells": 2, "memoryPerCell": "8Gi"}
    assert "in 2 cells" in world.condition("Planned")["message"]
    world.running()
    assert world.status["placement"]["nodes"] == [{"cell": 0, "node": "one"}, {"cell": 1, "node": "two"}]
    assert ("Job", "a-driver") in world.objects


def test_the_number_of_cells_and_their_packing_stay_while_nodes_come_and_memory_grows() -> None:
    world = Placed(memory={"growOnOOM": True})
    world.running()
    packed = world.objects["ConfigMap", "a-spec"]["data"][names.PLACEMENT_KEY]
    world.nodes = [node("one"), node("two"), node("three", memory=1 << 30)]
    world.status["memory"] = {"worker": "7Gi", "merger": "256Mi"}
    world.settle()
    assert world.status["placement"]["cells"] == 2
    assert world.objects["ConfigMap", "a-spec"]["data"][names.PLACEMENT_KEY] == packed
    assert world.names_of("Service") == SERVICES


def test_functions_that_no_cell_has_room_for_fail_the_job_with_the_remedy() -> None:
    world = Placed(memory={"worker": "4Gi"})
    world.reconcile()
    said = world.condition("Succeeded")
    assert (said["status"], said["reason"]) == ("False", "InvalidSpec")
    assert "raise placement.cells or placement.workersPerCell" in said["message"]


@pytest.mark.parametrize(
    ("change", "waits", "why"),
    [
        ({"cordoned": True}, True, "cordoned"),
        ({"cordoned": True}, False, ""),
        ({"ready": False}, False, "not ready"),
        (None, False, "is gone"),
        ({}, True, ""),
    ],
)
def test_a_cell_is_lost_with_its_node_and_where_a_pod_waits_for_one_that_is_cordoned(
    change: dict[str, Any] | None, waits: bool, why: str
) -> None:
    claim = {"metadata": {"name": "a-cell-1"}, "spec": {"volumeName": "v"}, "status": {"phase": "Bound"}}
    nodes = [node("one")] + ([] if change is None else [node("two", **change)])
    pods = [cells_pod(1, None if waits else "two", waits=waits)]
    said = lost(claim, pods, Inventory(nodes, {"v": volume("v", "two")}))
    assert (why in said) if why else (said == "")
    assert lost(claim, pods, Inventory(None)) == "", "nobody knows"
    unbound = {"metadata": {"name": "a-cell-1"}, "spec": {}, "status": {"phase": "Pending"}}
    assert lost(unbound, pods, Inventory(nodes, {"v": volume("v", "two")})) == ""


def test_a_cell_whose_node_is_drained_is_made_anew_and_the_other_is_left_alone() -> None:
    world = Placed()
    world.running()
    world.nodes = [node("one"), node("two", cordoned=True)]
    world.pods = [cells_pod(0, "one", "p0"), cells_pod(1, None, "new", waits=True)]
    plan = world.reconcile()
    assert [action for action in plan.actions if isinstance(action, Delete)] == [
        Delete("PersistentVolumeClaim", "a-cell-1")
    ]
    assert plan.again == 1.0
    assert "CellMoved" in world.events
    plan = world.reconcile()
    assert [action.manifest["metadata"]["name"] for action in plan.actions if isinstance(action, Apply)] == [
        "a-cell-1"
    ]
    world.bind(1, "one")
    world.pods = [cells_pod(0, "one", "p0"), cells_pod(1, "one", "new")]
    world.settle()
    assert world.status["placement"]["nodes"] == [{"cell": 0, "node": "one"}, {"cell": 1, "node": "one"}]
    assert world.events.count("CellMoved") == 1


def test_pods_on_a_node_that_does_not_answer_are_taken_away_at_once() -> None:
    world = Placed()
    world.running()
    world.nodes = [node("one"), node("two", ready=False)]
    plan = world.reconcile()
    assert Delete("Pod", "p1", at_once=True) in plan.actions
    assert Delete("PersistentVolumeClaim", "a-cell-1") in plan.actions
    assert not [each for each in plan.actions if isinstance(each, Delete) and each.name in ("p0", "a-cell-0")]


def test_a_claim_on_its_way_out_is_waited_for() -> None:
    world = Placed()
    world.running()
    world.objects["PersistentVolumeClaim", "a-cell-1"]["metadata"]["deletionTimestamp"] = str(NOW)
    plan = world.reconcile()
    assert plan.again == 1.0
    assert not [each for each in plan.actions if isinstance(each, Apply)]


@pytest.mark.parametrize("end", ["suspend", "finish", "delete"])
def test_volumes_go_with_the_functions(end: str) -> None:
    world = Placed()
    world.running()
    if end == "suspend":
        world.spec["suspend"] = True
        world.settle()
    elif end == "finish":
        world.driver_ends(0)
        world.settle()
    else:
        plan = plan_deletion(TRAINING_JOB, world.job, world.observed, NOW, world.settings)
        world.take(Plan(plan.actions))
    assert world.names_of("PersistentVolumeClaim") == []
    assert world.names_of("Service") == []


def test_pods_that_hold_a_claim_on_its_way_out_are_ended_by_whoever_comes_next() -> None:
    world = Placed()
    world.running()
    world.objects["PersistentVolumeClaim", "a-cell-1"]["metadata"]["deletionTimestamp"] = str(NOW)
    world.nodes = [node("one"), node("two", ready=False)]
    deleted = [each for each in world.reconcile().actions if isinstance(each, Delete)]
    assert deleted == [Delete("Pod", "p1", at_once=True)]


def test_a_job_whose_cells_are_fixed_goes_on_where_nodes_may_not_be_read_any_more() -> None:
    world = Placed()
    world.running()
    world.nodes = None
    world.reconcile()
    assert world.reason()[0] == "Unknown"
    assert world.status["placement"]["cells"] == 2
