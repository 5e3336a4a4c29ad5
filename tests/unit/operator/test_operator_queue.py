"""Which jobs may run."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sapflow_operator.observed import JobObject
from sapflow_operator.queue import Queue

START = datetime(2026, 5, 1, tzinfo=UTC)


def job(number: int, reason: str = "", status: str = "Unknown", **spec: Any) -> JobObject:
    conditions = [{"type": "Succeeded", "status": status, "reason": reason}] if reason else []
    created = START + timedelta(seconds=number)
    return JobObject(f"j{number}", "team", f"u{number}", 1, created, False, spec, {"conditions": conditions})


def test_jobs_start_in_order_of_creation_whatever_the_order_in_which_they_are_seen() -> None:
    queue = Queue(2)
    for number in (3, 1, 2):
        queue.put(job(number))
    assert not queue.admit("u3").may_start
    assert queue.admit("u2").may_start
    assert queue.admit("u1").may_start
    assert queue.admit("u3").running == 2


def test_an_admission_counts_before_the_status_tells_of_it() -> None:
    queue = Queue(1)
    queue.put(job(1))
    assert queue.admit("u1").may_start
    queue.put(job(0))
    assert not queue.admit("u0").may_start


def test_jobs_that_ran_before_the_operator_was_started_anew_run_on() -> None:
    queue = Queue(1)
    queue.put(job(1, "Queued"))
    queue.put(job(2, "Running"))
    assert not queue.admit("u1").may_start
    assert queue.admit("u2").may_start


def test_a_finished_a_suspended_and_a_deleted_job_each_make_room_for_the_next() -> None:
    queue = Queue(1)
    for number in range(4):
        queue.put(job(number))
    queue.admit("u0")
    assert [each.uid for each in queue.put(job(0, "Completed", "True"))] == ["u1"]
    queue.admit("u1")
    assert [each.uid for each in queue.put(job(1, "Running", suspend=True))] == ["u2"]
    queue.admit("u2")
    assert [each.uid for each in queue.drop("u2")] == ["u3"]


def test_a_job_that_becomes_active_again_is_called_when_there_is_room() -> None:
    queue = Queue(1)
    queue.put(job(1, "InvalidSpec", "False"))
    assert [each.uid for each in queue.put(job(1, "Queued"))] == ["u1"]


def broken(number: int, **status: Any) -> JobObject:
    """A job whose Secret is missing."""
    found = job(number, "SecretUnusable")
    conditions = [
        *found.status["conditions"],
        {"type": "Planned", "status": "False", "reason": "SecretUnusable"},
    ]
    return replace(found, status={"conditions": conditions, **status})


def test_jobs_that_cannot_be_started_hold_no_slots() -> None:
    queue = Queue(2)
    for number in range(3):
        queue.put(broken(number))
    assert queue.admit("u0").may_start, "it is tried again while there is room"
    assert [each.uid for each in queue.put(job(3))] == ["u3"]
    assert queue.admit("u3").may_start
    assert queue.put(job(4)) == []
    assert not queue.admit("u4").may_start
    assert not queue.admit("u1").may_start
    assert [each.uid for each in queue.could_not_start("u0")] == ["u4"]
    assert queue.admit("u4").may_start


def test_a_job_that_could_not_be_started_gives_its_slot_back_before_its_status_tells_of_it() -> None:
    queue = Queue(1)
    queue.put(job(1))
    queue.put(job(2))
    assert queue.admit("u1").may_start
    assert [each.uid for each in queue.could_not_start("u1")] == ["u2"]
    assert queue.admit("u2").may_start
    assert not queue.admit("u1").may_start
    queue.put(job(1, "Queued"))
    assert [each.uid for each in queue.put(job(2, "Completed", "True"))] == ["u1"]


def test_a_running_job_that_meets_an_outage_keeps_its_slot() -> None:
    queue = Queue(1)
    queue.put(broken(1, startTime="2026-05-01T00:00:00Z"))
    queue.put(job(2))
    assert queue.could_not_start("u1") == []
    assert not queue.admit("u2").may_start
