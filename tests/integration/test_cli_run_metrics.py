"""`sapflow run --metrics`: what Prometheus sees of a local run."""

import json
import re
import socket
import urllib.request
from pathlib import Path

import pytest
from helpers.commands import Shell, finish, here, started, write_job
from prometheus_client.parser import text_string_to_metric_families

from sapflow.cli.local_metrics import address

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("forked_functions")]


def test_a_run_is_scraped_while_it_trains(tmp_path: Path) -> None:
    file = write_job(tmp_path / "job.yaml", algorithm_steps=4000)
    with started("run", file, "--store", tmp_path / "store", "--max-instances", 1, "--metrics", 0) as process:
        assert process.stdout is not None
        told = process.stdout.readline()
        found = re.fullmatch(r"metrics at (http://127\.0\.0\.1:\d+/metrics)\n", told)
        assert found is not None, told
        while not re.match(r"step [1-9]", line := process.stdout.readline()):
            assert line, finish(process)
        text = urllib.request.urlopen(found[1], timeout=10).read().decode()
        process.terminate()
        assert finish(process).code == 143
    values = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert 0 < values["sapflow_job_step"] < values["sapflow_job_steps"] == 4000
    assert values["sapflow_job_cost_dollars"] > 0
    # It trains on between one series and the next.
    assert abs(values["sapflow_commits_total"] - values["sapflow_job_step"]) <= 5


def test_an_address_that_cannot_be_had_loses_nothing_of_a_finished_job(tmp_path: Path) -> None:
    file, store = write_job(tmp_path / "job.yaml"), tmp_path / "store"
    assert here("run", file, "--store", store).code == 0
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = here("run", file, "--store", store, "--again", "--metrics", port)
    assert done.code == 2
    assert f"--metrics 127.0.0.1:{port} cannot be used: Address already in use" in done.err
    assert "has finished already" in here("run", file, "--store", store).out


@pytest.mark.parametrize("options", [("--quiet",), ("--json",)])
def test_the_address_is_said_without_lines_too(options: tuple[str, ...], tmp_path: Path) -> None:
    file = write_job(tmp_path / "job.yaml")
    done = here("run", file, "--store", tmp_path / "store", "--metrics", 0, *options)
    assert done.code == 0, done.err
    said = re.findall(r"http://127\.0\.0\.1:[1-9]\d*/metrics", done.err)
    assert len(said) == 1
    assert options == ("--quiet",) or json.loads(done.err.splitlines()[0]) == {
        "event": "metrics",
        "url": said[0],
    }


def test_a_host_that_can_be_none_is_said(tmp_path: Path) -> None:
    done = here("run", write_job(tmp_path / "job.yaml"), "--store", tmp_path / "store", "--metrics", "..:0")
    assert done.code == 2
    assert "--metrics ..:0 cannot be used" in done.err


@pytest.mark.parametrize(
    ("text", "expected"),
    [("9090", ("127.0.0.1", 9090)), ("0.0.0.0:0", ("0.0.0.0", 0)), ("[::1]:9090", ("::1", 9090))],
)
def test_an_address_is_a_port_with_or_without_a_host(text: str, expected: tuple[str, int]) -> None:
    assert address(text) == expected


@pytest.mark.parametrize("text", ["", "host", "host:", "1.5", "host:65536", "-1"])
def test_what_is_no_address_is_said(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = Shell(capsys)("run", tmp_path / "job.yaml", f"--metrics={text}")
    assert done.code == 2
    assert "must be [HOST:]PORT" in done.err
