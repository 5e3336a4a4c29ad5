"""How many functions the nodes of a cluster hold, and that a job's driver is told so."""

import json
from typing import Any

import pytest
from helpers.manifests import variables_of
from test_operator_cells import AFFINITY, node
from test_operator_reconcile import World

from sapflow.spec.document import parse
from sapflow_operator.cells import decide
from sapflow_operator.kinds.job_pool import SIDECAR_MILLIS
from sapflow_operator.nodes import Demand, Inventory, Node, amount
from sapflow_operator.resources.driver_job import DRIVER_MILLIS

GIB = 1 << 30


class Standing(World):
    """A cluster with nodes."""

    def __init__(self, inventory: Inventory, **spec: Any) -> None:
        super().__init__(**spec)
        self.inventory = inventory

    def told(self) -> str:
        """The instances that the driver plans for."""
        self.settle()
        driver = self.objects["Job", "a-driver"]
        (container,) = driver["spec"]["template"]["spec"]["containers"]
        return variables_of(container)["SAPFLOW_MAX_INSTANCES"]


def test_a_node_is_read_as_the_api_server_writes_it() -> None:
    text = """{"metadata": {"name": "n", "labels": {"a": "b"}}, "spec": {"taints": [{"effect": "PreferNoSchedule"}]},
        "status": {"allocatable": {"cpu": "1930m", "memory": "2Gi", "pods": "110"},
                   "conditions": [{"type": "Ready", "status": "True"}]}}"""
    assert Node.read(json.loads(text)) == Node("n", {"a": "b"}, True, False, False, 2 * GIB, 1930, 110)


@pytest.mark.parametrize(
    ("quantity", "value"),
    [
        ("24684032Ki", 24684032 * 1024),
        ("16Gi", 16 * GIB),
        ("1.5Gi", 1.5 * GIB),
        ("128974848", 128974848),
        ("15961844721600m", 15961844721.6),
        ("1e9", 10**9),
        ("1E3", 1000),
        ("2Pi", 2 << 50),
        ("1E", 10**18),
        ("2Ei", 2 << 60),
        ("3920m", 3.92),
        ("100u", 1e-4),
        ("1k", 1000),
        ("0", 0),
        ("", 0),
        ("many", 0),
        ("1.2.3", 0),
        ("5x", 0),
    ],
)
def test_quantities_are_read_in_all_forms_that_the_api_server_writes(quantity: str, value: float) -> None:
    assert float(amount(quantity)) == pytest.approx(value)


def test_a_node_that_says_nothing_of_itself_has_no_room_and_makes_no_cell() -> None:
    bare = Node.read(
        {"metadata": {"name": "n"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    )
    assert (bare.schedulable, bare.room(1, 1)) == (True, 0)
    job = parse(World(affinity=AFFINITY, merge={"structure": [1, 2, 4]}).job.document, "kubernetes")
    assert decide(job, Inventory([bare, node("one")])) == {"cells": 1, "memoryPerCell": "8Gi"}


@pytest.mark.parametrize(
    ("changes", "room"),
    [
        ({"memory": 4 * GIB}, 8),
        ({"memory": 4 * GIB - 1}, 7),
        ({"millis": 350}, 3),
        ({"pods": 5}, 5),
    ],
)
def test_a_node_holds_what_its_scarcest_resource_is_enough_for(changes: dict[str, Any], room: int) -> None:
    assert node("n", **changes).room(GIB // 2, 100) == room


def test_only_nodes_that_take_pods_count() -> None:
    one = node("one", memory=GIB)
    others = [node("two", cordoned=True), node("three", ready=False), node("four", tainted=True)]
    assert Inventory([one, *others]).room(GIB // 2, 1) == 2
    assert Inventory([one, node("five", memory=2 * GIB)]).room(GIB // 2, 1) == 6


def test_where_nodes_are_not_known_or_not_there_yet_any_number_may_fit() -> None:
    assert Inventory().room(1, 1) is None
    assert Inventory([]).room(1, 1) is None
    assert Standing(Inventory()).told() == "0"
    assert Standing(Inventory([])).told() == "0"


def test_a_driver_plans_for_the_workers_that_the_nodes_hold() -> None:
    memory = {"worker": "1Gi", "merger": "256Mi"}
    inventory = Inventory([node("one", memory=3 * GIB), node("two", memory=2 * GIB + 5)])
    # Of five, the driver and a merger take the place of one.
    assert Standing(inventory, memory=memory).told() == "4"
    assert Standing(inventory, memory=memory, merge={"reuseWorkers": True}).told() == "4"
    # A tenth of the limit is requested, and Knative's sidecar asks beside it.
    besides = DRIVER_MILLIS + 100 + SIDECAR_MILLIS
    few = Inventory([node("one", millis=2 * (100 + SIDECAR_MILLIS) + besides)])
    assert Standing(few, memory=memory, cpu={"worker": "1", "merger": "1"}).told() == "2"


def test_a_driver_whose_functions_have_no_room_is_not_started_and_holds_none_itself() -> None:
    full = Inventory([node("one", memory=4 * GIB)]).without([("one", Demand(3 * GIB, 1))])
    world = Standing(full, memory={"worker": "1Gi", "merger": "256Mi"})
    world.settle()
    assert ("Job", "a-driver") not in world.objects
    assert world.reason() == ("Unknown", "Starting")
    assert "no room" in world.condition("Succeeded")["message"]
    world.inventory = Inventory([node("one", memory=4 * GIB)])
    assert world.told() == "3"


def test_where_no_node_could_ever_hold_a_worker_a_driver_starts_because_nodes_may_be_added() -> None:
    assert Inventory([node("one", memory=GIB, millis=10)]).room(GIB, 100) is None
    assert Standing(Inventory([node("one", memory=GIB)]), memory={"worker": "2Gi"}).told() == "0"


def test_what_pods_of_others_hold_is_no_room() -> None:
    pod = {
        "spec": {
            "containers": [
                {"resources": {"requests": {"memory": "1Gi", "cpu": "100m"}}},
                {"resources": {"requests": {"cpu": "25m"}}},
                {},
            ]
        }
    }
    demand = Demand.of(pod)
    assert demand == Demand(GIB, 125)
    nodes = Inventory([node("one", memory=4 * GIB), node("two", memory=4 * GIB)])
    left = nodes.without([("one", demand), ("one", demand), ("elsewhere", demand)])
    assert (nodes.room(GIB, 1), left.room(GIB, 1)) == (8, 6)
    assert left.nodes is not None
    assert [each.millis for each in left.nodes] == [4000 - 250, 4000]
    assert [each.pods for each in left.nodes] == [108, 110]
    assert Inventory().without([("one", demand)]).nodes is None


def test_what_the_chart_says_goes_before_what_is_counted() -> None:
    world = Standing(Inventory([node("one")]))
    world.settings = world.settings.model_copy(update={"max_instances": 40})
    assert world.told() == "40"
