"""What a driver reports is a reason to look at its job only where it asks for another memory size."""

from typing import Any

from helpers.operator_settings import SETTINGS

from sapflow_operator.api.cluster import Cluster
from sapflow_operator.controller import Controller
from sapflow_operator.kinds.training_job import TRAINING_JOB


class Watched(Controller):
    """A controller whose looks are only counted."""

    def __init__(self) -> None:
        super().__init__(SETTINGS, Cluster(), TRAINING_JOB)
        self.touched: list[str] = []

    def touch(self, namespace: str, name: str) -> None:
        self.touched.append(name)


def body(memory: dict[str, Any], progress: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": "a", "namespace": "team", "uid": "u1", "creationTimestamp": "2026-05-01T12:00:00Z"}
    return {"metadata": metadata, "spec": {"memory": memory}, "status": {"progress": progress}}


def reconciliations(memory: dict[str, Any]) -> list[int]:
    """Looks so far after each of a driver's reports."""
    controller, counts = Watched(), []
    reports: tuple[dict[str, Any], ...] = (
        {},
        {"step": 1, "memory": {"worker": "512Mi"}},
        {"step": 2, "memory": {"worker": "512Mi"}},
        {"step": 3, "memory": {"worker": "768Mi"}},
        {"step": 4, "memory": {"worker": "768Mi"}},
    )
    for progress in reports:
        controller.seen(body(memory, progress))
        counts.append(len(controller.touched))
    return [count - counts[0] for count in counts]


def test_a_job_that_searches_is_reconciled_whenever_its_driver_asks_for_another_size() -> None:
    assert reconciliations({"optimize": {"goal": "Cost"}}) == [0, 1, 1, 2, 2]


def test_a_job_that_does_not_is_not_reconciled_for_what_its_driver_reports() -> None:
    assert reconciliations({"worker": "512Mi"}) == [0, 0, 0, 0, 0]
