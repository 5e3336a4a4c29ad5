"""The addresses of ready instances, from the EndpointSlices of Knative's private Services."""

from typing import Any

from sapflow_operator.driver_pod.instances import ready, take


def slice_of(
    service: str = "digits-worker",
    *addresses: str,
    generation: int = 1,
    uid: str = "one",
    created: str = "2026-11-28T10:00:00Z",
    name: str = "",
    **conditions: bool,
) -> dict[str, Any]:
    state = {"ready": True, "serving": True, "terminating": False} | conditions
    return {
        "metadata": {
            "name": name or f"{service}-{generation:05}-private-{uid}",
            "creationTimestamp": created,
            "labels": {
                "serving.knative.dev/service": service,
                "serving.knative.dev/serviceUID": uid,
                "serving.knative.dev/configurationGeneration": str(generation),
            },
        },
        "endpoints": [{"addresses": [address], "conditions": state} for address in addresses] or None,
        "ports": [
            {"name": "https", "port": 8112},
            {"name": "http-autometric", "port": 9090},
            {"name": "http", "port": 8012},
        ],
    }


def test_ready_instances_have_the_port_of_their_queue_proxy() -> None:
    found = ready(
        [slice_of("digits-worker", "10.0.0.1", "10.0.0.2"), slice_of("digits-merger", "10.0.0.3", "fd00::1")]
    )
    assert found == {
        "digits-worker": ["10.0.0.1:8012", "10.0.0.2:8012"],
        "digits-merger": ["10.0.0.3:8012", "[fd00::1]:8012"],
    }


def test_instances_that_are_not_ready_or_end_are_not_called() -> None:
    ending = slice_of("digits-worker", "10.0.0.1", terminating=True)
    starting = slice_of("digits-merger", "10.0.0.2", ready=False)
    assert ready([ending, starting]) == {"digits-worker": [], "digits-merger": []}


def test_of_two_revisions_only_the_newer_is_called_also_before_it_has_instances() -> None:
    old = slice_of("digits-worker", "10.0.0.1", generation=1)
    new = slice_of("digits-worker", generation=2, created="2026-11-28T10:05:00Z")
    assert ready([new, old]) == {"digits-worker": []}


def test_revisions_are_numbers() -> None:
    slices = [slice_of("digits-worker", f"10.0.0.{each}", generation=each) for each in (9, 10)]
    assert ready(slices) == {"digits-worker": ["10.0.0.10:8012"]}


def test_a_service_of_an_earlier_job_of_the_name_is_not_called() -> None:
    earlier = slice_of("digits-worker", "10.0.0.1", generation=3)
    later = slice_of("digits-worker", "10.0.0.2", uid="two", created="2026-11-28T10:05:00Z")
    assert ready([earlier, later]) == {"digits-worker": ["10.0.0.2:8012"]}


def test_a_watch_adds_changes_and_removes_slices() -> None:
    known: dict[str, Any] = {"gone": slice_of()}
    first, second = slice_of("a", "10.0.0.1", name="a"), slice_of("b", "10.0.0.2", name="b")
    take(known, "LISTED", [first, second])
    take(known, "MODIFIED", [slice_of("a", "10.0.0.3", name="a")])
    take(known, "DELETED", [second])
    assert ready(known.values()) == {"a": ["10.0.0.3:8012"]}
