"""Following a job of a cluster to its end, and the logs of its pods."""

import io
import json
import signal
from collections import deque
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from helpers.cluster_api import (
    CUT,
    HOLD,
    ClusterApi,
    Object,
    condition,
    failed,
    not_found,
    pod,
    refusal,
    running,
    succeeded,
    trainingjob,
)
from helpers.commands import Done, Shell, finish, run, send, started, write_job
from rich.console import Console

from sapflow.cli.cluster_live import JobDisplay
from sapflow.cli.log_lines import Printer, readable
from sapflow.client import cluster_job
from sapflow.client.log_reading import Rereading, stamped


@pytest.fixture
def environ(api: ClusterApi, tmp_path: Path) -> dict[str, str]:
    return {"KUBECONFIG": str(api.kubeconfig(tmp_path)), "HOME": str(tmp_path)}


def modified(job: Object, kind: str = "MODIFIED") -> Object:
    return {"type": kind, "object": job}


def watching(api: ClusterApi, *answers: list[Any]) -> None:
    api.watches["trainingjobs"] = deque(answers)


QUEUED: dict[str, Any] = {"conditions": [condition("Succeeded", "Unknown", "Queued", "waits: 10 jobs run")]}


def test_a_submitted_job_is_followed_to_its_result(
    api: ClusterApi, environ: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = [
        modified(trainingjob("tiny", **each)) for each in (QUEUED, running(3, loss=0.5), succeeded("f00d"))
    ]
    for each in events:
        each["object"]["metadata"]["uid"] = "uid"
    watching(api, events)
    done = Shell(capsys)("submit", write_job(tmp_path / "job.yaml"), "--watch", environ=environ)
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[:5] == [
        "tiny created in namespace team",
        "Queued: waits: 10 jobs run",
        "Running: the driver is at work",
        "step 3/40 (7 %)  loss 0.5000  $0.000100",
        "Completed: trained",
    ]
    assert lines[5].startswith("step 40/40 (100 %)")
    assert "  SHA-256     f00d" in lines


def test_a_watch_goes_on_after_a_cut_a_timeout_and_a_version_that_is_forgotten(
    api: ClusterApi, environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    api.put(trainingjob(**running(1)))
    gone = modified({"kind": "Status", "code": 410, "metadata": {}}, "ERROR")
    watching(
        api,
        [modified(trainingjob(**running(2))), CUT],
        [],
        [gone],
        [modified(trainingjob(**running(3)), "BOOKMARK"), modified(trainingjob(**succeeded()))],
    )
    done = Shell(capsys)("status", "digits", "-n", "team", "--watch", "--json", environ=environ)
    assert done.code == 0
    assert done.json["state"] == "Succeeded"
    heard = [json.loads(line) for line in done.err.splitlines()]
    assert [each["done"] for each in heard if each["event"] == "progress"] == [1, 40]
    lists = [
        asked for asked in api.asked if asked.path.endswith("/trainingjobs") and "watch" not in asked.query
    ]
    assert len(lists) == 2, "the first, and one after the version was forgotten"


def test_a_job_that_fails_is_exit_code_1_whatever_its_reason(
    api: ClusterApi, environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    api.put(trainingjob(**running(1)))
    watching(api, [modified(trainingjob(**failed("StoreFailed", "the disk is full")))])
    done = Shell(capsys)("status", "digits", "-n", "team", "--watch", environ=environ)
    assert done.code == 1
    assert "StoreFailed: the disk is full" in done.out


@pytest.mark.parametrize("how", ["deleted", "made anew"])
def test_a_job_that_goes_while_it_is_watched_is_told_so(
    how: str, api: ClusterApi, environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    api.put(trainingjob(**running(1)))
    other = trainingjob(**running(0))
    other["metadata"]["uid"] = "another"
    watching(api, [modified(trainingjob(), "DELETED") if how == "deleted" else modified(other, "ADDED")])
    done = Shell(capsys)("status", "digits", "-n", "team", "--watch", environ=environ)
    assert done.code == 2
    assert "the job digits in namespace team was deleted" in done.err


def test_events_say_what_conditions_do_not(
    api: ClusterApi, environ: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = trainingjob("tiny", **succeeded())
    job["metadata"]["uid"] = "uid"
    watching(api, [modified(job)])
    api.events["team"] = [
        {"metadata": {"name": "a"}, "type": "Normal", "reason": "Completed", "message": "trained"},
        {"metadata": {"name": "b"}, "type": "Warning", "reason": "MemoryGrown", "message": "worker to 1Gi"},
    ]
    done = Shell(capsys)("submit", write_job(tmp_path / "job.yaml"), "--watch", environ=environ)
    assert "\nwarning: MemoryGrown: worker to 1Gi\n" in done.out
    assert done.out.count("Completed: trained") == 1


def test_an_outage_while_events_and_pods_are_listed_does_not_end_the_watch(
    api: ClusterApi, environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    api.put(trainingjob(**succeeded("f00d")))
    # Three tries a list, as the job is followed and as it is told at the end.
    api.refusals += [(each, refusal(503, "busy")) for each in ("events", "pods") * 6]
    done = Shell(capsys)("status", "digits", "-n", "team", "--watch", "--json", environ=environ)
    assert (done.code, done.json["state"], done.json["result"]["sha256"]) == (0, "Succeeded", "f00d")
    assert not api.refusals


def test_a_trouble_that_comes_back_is_told_again(
    api: ClusterApi, environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    def functions(*ready: str) -> Object:
        status = running(3)
        status["conditions"].append(condition("FunctionsReady", *ready))
        return modified(trainingjob(**status))

    crowded = functions("False", "Unschedulable", "no room")
    still = functions("False", "Unschedulable", "no room for 2")
    api.put(trainingjob(**running(3)))
    watching(
        api,
        [crowded, still, functions("True", "Ready", "fine"), crowded, modified(trainingjob(**succeeded()))],
    )
    done = Shell(capsys)("status", "digits", "-n", "team", "--watch", environ=environ)
    told = [line for line in done.out.splitlines() if line.startswith(("Unschedulable", "Running"))]
    assert told == ["Running: the driver is at work", *["Unschedulable: no room"] * 2]


def test_ctrl_c_leaves_the_job_alone_and_tells_how_to_watch_on(
    api: ClusterApi, environ: dict[str, str]
) -> None:
    api.put(trainingjob(**running(1)))
    watching(api, [HOLD])
    with started("status", "digits", "-n", "team", "--watch", environ=environ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "Running: the driver is at work\n"
        send(process, signal.SIGINT)
        done = finish(process)
    assert done.code == 130
    assert (
        "digits goes on in the cluster. To watch it again:\n  sapflow status digits -n team --watch"
        in done.err
    )
    assert all(asked.method == "GET" for asked in api.asked)


def test_the_live_picture_shows_progress_tree_and_functions() -> None:
    above, picture = io.StringIO(), io.StringIO()
    with JobDisplay(above, "digits in team: 4 workers", trainingjob()) as display:
        display.emit({"event": "condition", "reason": "Queued", "message": "waits"})
        display.emit({"event": "functions", "functions": [("worker", "running"), ("worker", "OOMKilled")]})
        display.emit(
            cluster_job.progress_event(trainingjob(**running(10, loss=0.5, structure=[1, 2, 4]))) or {}
        )
    Console(file=picture, width=100).print(display.picture())
    assert "Queued: waits" in above.getvalue()
    shown = picture.getvalue()
    for words in ("step 10/40", "25 %", "loss 0.5000", "$0.000100 at AWSLambda", "1 running, 1 failing"):
        assert words in shown
    assert "2 workers" in shown


# logs

STAMP = "2026-01-01T00:00:{:02d}.000000000Z "


def stamped_lines(*lines: str, first: int = 0) -> list[str]:
    return [STAMP.format(first + index) + line for index, line in enumerate(lines)]


def logs(api: ClusterApi, **lines: Any) -> None:
    api.logs = {name.replace("_", "-"): deque(each) for name, each in lines.items()}


def show(capture: pytest.CaptureFixture[str], environ: dict[str, str], *arguments: object) -> Done:
    return Shell(capture)("logs", "digits", *arguments, environ=environ)


def test_the_drivers_log_is_shown_as_it_is(
    api: ClusterApi, environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    api.put(trainingjob(**succeeded()))
    api.pods["team"] = [pod("driver-a", phase="Succeeded")]
    logs(api, driver_a=[['{"event": "step", "step": 1}', "no event"]])
    done = show(capsys, environ, "--since", 30, "--tail", 5)
    assert (done.code, done.out) == (0, '{"event": "step", "step": 1}\nno event\n')
    query = api.asked[-1].query
    assert (query["container"], query["sinceSeconds"], query["tailLines"]) == ("driver", "30", "5")


def test_a_replaced_drivers_log_comes_first_and_lines_have_their_pods_name(
    api: ClusterApi, environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    api.put(trainingjob(**running(3)))
    api.pods["team"] = [
        pod("driver-b", created="2026-01-01T00:00:09Z"),
        pod("driver-a", phase="Failed"),
        pod("driver-c", phase="Pending", created="2026-01-01T00:00:19Z"),
    ]
    logs(api, driver_a=[["first"]], driver_b=[["second"]])
    done = show(capsys, environ)
    assert done.out == "driver-a first\ndriver-b second\n"
    assert "driver-c has not started: pending" in done.err
    assert show(capsys, environ, "--raw").out == "first\nsecond\n"


def test_a_functions_log_is_its_own_containers(
    api: ClusterApi, environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    api.put(trainingjob(**running(3)))
    api.pods["team"] = [pod("worker-1", "worker")]
    logs(api, worker_1=[["hello"]])
    assert show(capsys, environ, "--role", "worker", "--previous").out == "hello\n"
    assert "sapflow.dev/role=worker" in api.asked[-2].query["labelSelector"]
    assert (api.asked[-1].query["container"], api.asked[-1].query["previous"].lower()) == (
        "user-container",
        "true",
    )


def test_a_job_without_pods_says_why(
    api: ClusterApi, environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    api.put(trainingjob(**QUEUED))
    done = show(capsys, environ)
    assert (done.code, done.out) == (0, "")
    assert "digits has no driver pods now (Queued: waits: 10 jobs run)" in done.err


def test_a_pod_that_goes_meanwhile_is_passed_over(
    api: ClusterApi, environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    api.put(trainingjob(**running(3)))
    api.pods["team"] = [pod("worker-1", "worker"), pod("worker-2", "worker")]
    logs(api, worker_2=[["hello"]])
    api.refusals.append(("worker-1/log", not_found("pods", "worker-1")))
    done = show(capsys, environ, "--role", "worker")
    assert (done.code, done.out) == (0, "worker-2 hello\n")


def test_a_followed_log_goes_on_after_a_cut_without_a_line_twice_and_ends_with_the_job(
    api: ClusterApi, environ: dict[str, str]
) -> None:
    api.put(trainingjob(**running(3)))
    api.pods["team"] = [pod("driver-a", phase="Succeeded")]
    logs(api, driver_a=[[*stamped_lines("one", "two"), CUT], stamped_lines("one", "two", "three")])
    watching(api, [modified(trainingjob(**succeeded()))])
    done = run("logs", "digits", "--follow", environ=environ)
    assert (done.code, done.out) == (0, "one\ntwo\nthree\n")


def test_a_driver_that_is_replaced_is_followed_too(api: ClusterApi, environ: dict[str, str]) -> None:
    api.put(trainingjob(**running(3)))
    api.pods["team"] = [pod("driver-a", phase="Failed")]
    replaced = pod("driver-b", phase="Succeeded", created="2026-01-01T00:00:09Z")
    logs(api, driver_a=[stamped_lines("crashed")], driver_b=[stamped_lines("resumed", "succeeded", first=9)])
    with started("logs", "digits", "-f", environ=environ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "crashed\n"
        api.pods["team"].append(replaced)
        api.watches["pods"] = deque([[modified(replaced, "ADDED")]])
        heard = [process.stdout.readline(), process.stdout.readline()]
        watching(api, [modified(trainingjob(**succeeded()))])
        done = finish(process)
    assert (done.code, heard) == (0, ["driver-b resumed\n", "driver-b succeeded\n"])


WATCHER = "failed to create fsnotify watcher: too many open files"


def test_what_a_node_says_between_is_shown_and_nothing_after_it_is_lost(
    api: ClusterApi, environ: dict[str, str]
) -> None:
    api.put(trainingjob(**running(3)))
    api.pods["team"] = [pod("driver-a", phase="Succeeded")]
    logs(api, driver_a=[[*stamped_lines("one"), WATCHER, CUT], [*stamped_lines("one", "two"), WATCHER]])
    watching(api, [modified(trainingjob(**succeeded()))])
    done = run("logs", "digits", "--follow", environ=environ)
    assert (done.code, done.out) == (0, f"one\n{WATCHER}\ntwo\n")


def test_an_ended_driver_whose_log_is_gone_does_not_keep_the_command(
    api: ClusterApi, environ: dict[str, str]
) -> None:
    api.put(trainingjob(**running(3)))
    api.pods["team"] = [pod("driver-a", phase="Failed")]
    logs(api, driver_a=[refusal(400, "container driver is terminated")])
    watching(api, [modified(trainingjob(**succeeded()))])
    done = run("logs", "digits", "--follow", environ=environ)
    assert (done.code, done.out) == (0, "")


def test_a_log_that_is_refused_while_its_container_starts_anew_is_read_all_the_same(
    api: ClusterApi, environ: dict[str, str]
) -> None:
    api.put(trainingjob(**running(3)))
    api.pods["team"] = [pod("driver-a", phase="Succeeded")]
    logs(api, driver_a=[refusal(400, "container driver is waiting to start"), stamped_lines("one")])
    watching(api, [modified(trainingjob(**succeeded()))])
    assert run("logs", "digits", "--follow", environ=environ).out == "one\n"


@pytest.mark.parametrize("where", ["a pod", "the watch of pods", "the watch of the job"])
def test_an_answer_that_cannot_be_read_ends_a_followed_log_with_an_error(
    where: str, api: ClusterApi, environ: dict[str, str]
) -> None:
    api.put(trainingjob(**running(3)))
    api.pods["team"] = [pod("driver-a")]
    logs(api, driver_a=[stamped_lines("one")])
    watching(api, ["no JSON"] if where == "the watch of the job" else [HOLD])
    api.watches["pods"] = deque([["no JSON"] if where == "the watch of pods" else [HOLD]])
    if where == "a pod":
        # The log's answer, then the pod's: a string where an object belongs.
        api.refusals += [("/driver-a", (200, "words")), ("/driver-a", (200, "words"))]
    done = run("logs", "digits", "--follow", environ=environ)
    assert done.code == 3
    assert "got an answer that is no JSON object" in done.err


def test_a_log_that_was_cut_off_is_asked_for_since_its_last_line_in_any_time_zone(
    api: ClusterApi, environ: dict[str, str]
) -> None:
    written = datetime.now(UTC) - timedelta(seconds=1000)
    there = written.astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat(timespec="microseconds")
    api.put(trainingjob(**running(3)))
    api.pods["team"] = [pod("driver-a", phase="Succeeded")]
    logs(api, driver_a=[[f"{there} one", CUT], [f"{there} one"]])
    watching(api, [modified(trainingjob(**succeeded()))])
    assert run("logs", "digits", "--follow", environ=environ).out == "one\n"
    asked = [each.query for each in api.asked if each.path.endswith("/log")]
    assert 1000 <= int(asked[1]["sinceSeconds"]) < 5 * 3600


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("1970-01-01T00:00:01.000000002Z a b", (1_000_000_002, "a b")),
        ("1970-01-01T00:00:01.5Z ", (1_500_000_000, "")),
        ("1970-01-01T05:30:01+05:30 a", (1_000_000_000, "a")),
        ("1970-13-01T00:00:01Z a", (None, "1970-13-01T00:00:01Z a")),
        (WATCHER, (None, WATCHER)),
        ("", (None, "")),
    ],
)
def test_the_time_of_a_line_is_told_from_its_text(line: str, found: tuple[int | None, str]) -> None:
    assert stamped(line) == found


def test_lines_are_new_by_their_time_wherever_clocks_are_set() -> None:
    reading = Rereading()
    assert list(reading.new(["2026-03-29T01:59:59+01:00 winter", "2026-03-29T01:00:00Z later"])) == [
        "winter",
        "later",
    ]
    answer = [
        "2026-03-29T01:00:00Z later",
        "2026-03-29T03:00:00+02:00 later",
        "2026-03-29T03:00:01+02:00 new",
    ]
    assert list(reading.new(answer)) == ["new"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_an_event_is_time_level_name_and_fields() -> None:
    written = (
        '{"time": "2026-01-01T12:34:56.789Z", "level": "INFO", "logger": "x", "event": "step", '
        '"loss": 0.123456789, "why": "a b"}'
    )
    assert readable(written) == '12:34:56.789 INFO    step  loss=0.123457 why="a b"'
    assert readable("plain \x1b[2J words") == "plain  [2J words"
    assert readable('{"event": "lost", "level": "ERROR", "error": "Traceback"}').startswith("\x1b[31m")
    stream = Terminal()
    Printer(stream, raw=True).write("pod", written)
    Printer(stream, raw=False).write("pod", written)
    assert stream.getvalue().splitlines() == [written, readable(written)]
