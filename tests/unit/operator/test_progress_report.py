"""`status.progress` as a driver reports it, to an API server that answers as told."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from helpers.jobs import tiny_job

from sapflow.messages.vectors import Sizes
from sapflow.planning.extent import Extent
from sapflow.records.commits import Account, Commit, Cursor, Forecast, Measured, Plan
from sapflow.records.memory_search import SizeSearch, SizeTrial
from sapflow.steps.observer import PreparedSoFar
from sapflow_operator import names
from sapflow_operator.driver_pod.progress import ProgressReporter
from sapflow_operator.driver_pod.reports import LEAST_SECONDS, NotReported, StatusApi
from sapflow_operator.kinds.training_status import training_status

PATH = "/apis/sapflow.dev/v1alpha1/namespaces/here/trainingjobs/tiny/status"

TINY: Any = {"resource": names.TRAINING_JOB, "namespace": "here", "name": "tiny", "uid": "u"}


class ApiServer:
    """Takes reports, or answers with the statuses it is given first."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.requests: list[web.Request] = []
        self.bodies: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.taken = asyncio.Event()
        self.found: dict[str, Any] = {}

    async def patch(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        self.bodies.append(json.loads(await request.text()))
        self.times.append(asyncio.get_running_loop().time())
        if self.statuses:
            return web.Response(status=self.statuses.pop(0), text="not now")
        self.taken.set()
        return web.json_response({})

    async def get(self, request: web.Request) -> web.Response:
        if self.statuses:
            return web.Response(status=self.statuses.pop(0), text="not now")
        return web.json_response(self.found)

    @property
    def last(self) -> dict[str, Any]:
        progress: dict[str, Any] = self.bodies[-1]["status"]["progress"]
        return progress


@asynccontextmanager
async def served(server: ApiServer, account: Path) -> AsyncIterator[StatusApi]:
    (account / "token").write_text("a-token\n")
    app = web.Application()
    app.router.add_patch(PATH, server.patch)
    app.router.add_get(PATH, server.get)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield StatusApi(
            url, account, resource=names.TRAINING_JOB, namespace="here", name="tiny", uid="an-uid"
        )
    finally:
        await runner.cleanup()


def commit(version: int, **measured: Any) -> Commit:
    return Commit(
        version=version,
        id="id",
        previous="",
        plan="plan",
        sizes=Sizes(parameters=1, averaged=0, block=1),
        slots=[],
        params=[],
        optimizer=[],
        cursor=Cursor(epoch=version // 4, used=0),
        account=Account(cost_usd=0.001 * version, invocations=7 * version, cold_starts=2, retries=1),
        measured=Measured(**measured),
    )


def extent() -> Extent:
    return Extent.of(tiny_job(algorithm_steps=8), 120)


OUTCOME = {
    "version": 6,
    "sha256": "ab",
    "validationAccuracy": 0.95,
    "account": Account(cost_usd=0.01, invocations=60).body(),
    "forecast": {"seconds": 3.0, "costUSD": 0.006, "secondsError": -0.25, "costError": -0.4},
}
FORECAST = Forecast(seconds_per_step=0.5, dollars_per_step=0.001, steps=8, constants="elsewhere")


def test_reports_what_is_known_under_the_drivers_own_field_manager(tmp_path: Path) -> None:
    server = ApiServer()

    async def test() -> None:
        async with served(server, tmp_path) as api, ProgressReporter(tiny_job(), api) as reporter:
            reporter.begin(extent())
            reporter.planned(Plan(structure=(1, 2, 4), shards=2), FORECAST)
            reporter.planned(Plan(structure=(1, 4), shards=3), None)
            reporter.committed(commit(6, loss=0.5, accuracy=0.75))
            reporter.evaluated(6, {"loss": 0.25, "accuracy": 0.875, "macroF1": 0.5, "auc": math.nan})
            reporter.checkpointed(4)

    asyncio.run(test())
    request, body = server.requests[-1], server.bodies[-1]
    assert dict(request.query) == {"fieldManager": "sapflow-driver", "force": "true"}
    assert request.headers["Authorization"] == "Bearer a-token"
    assert request.headers["Content-Type"] == "application/apply-patch+yaml"
    assert (body["apiVersion"], body["kind"]) == ("sapflow.dev/v1alpha1", "TrainingJob")
    assert body["metadata"] == {"name": "tiny", "namespace": "here", "uid": "an-uid"}
    assert set(body["status"]) == {"progress"}
    known = server.last
    assert (known["step"], known["steps"], known["percent"], known["epoch"]) == (6, 8, 75.0, 1)
    assert (known["loss"], known["accuracy"]) == (0.5, 0.75)
    assert (known["validationLoss"], known["validationAccuracy"]) == (0.25, 0.875)
    assert known["validationMetrics"] == {"macroF1": 0.5}
    assert (known["costUSD"], known["invocations"], known["coldStarts"], known["retries"]) == (
        0.006,
        42,
        2,
        1,
    )
    assert known["memory"] == {"worker": "512Mi", "merger": "256Mi"}
    assert (known["structure"], known["shards"]) == ([1, 4], 3)
    assert (known["forecastSeconds"], known["forecastCostUSD"]) == (4.0, 0.008)
    assert known["checkpoint"] == 4


def test_a_search_reports_the_size_that_it_wants_and_none_before_the_store_has_told_of_it(
    tmp_path: Path,
) -> None:
    """The operator gives what is reported: a driver that starts anew must not ask for the first size again."""
    server = ApiServer()
    trial = SizeTrial(size=512, seconds=0.5, cost_usd=1e-5, error=0.1, step=5)
    search = SizeSearch(size=768, least=305, trials=[trial])

    async def test() -> None:
        async with (
            served(server, tmp_path) as api,
            ProgressReporter(tiny_job(), api, searches=True) as reporter,
        ):
            await server.taken.wait()
            reporter.begin(extent())
            reporter.resumed(commit(6, search=search))

    asyncio.run(test())
    assert "memory" not in server.bodies[0]["status"]["progress"]
    assert server.last["memory"] == {
        "worker": "768Mi",
        "merger": "256Mi",
        "searching": True,
        "trials": [{"worker": "512Mi", "step": 5, "secondsPerStep": 0.5, "costUSD": 1e-5}],
    }
    declared = training_status()["properties"]["progress"]["properties"]["memory"]["properties"]
    assert {*server.last["memory"], "preparer"} == set(declared)
    assert set(server.last["memory"]["trials"][0]) == set(declared["trials"]["items"]["properties"])


def test_every_field_it_reports_is_one_that_the_crd_declares(tmp_path: Path) -> None:
    declared = training_status()["properties"]["progress"]["properties"]
    (tmp_path / "token").write_text("t")
    api = StatusApi("http://127.0.0.1:1", tmp_path, **TINY)

    async def test() -> dict[str, Any]:
        reporter = ProgressReporter(tiny_job(), api)
        reporter.prepared(PreparedSoFar("parsing", 1, 2, 3, 0, Account()))
        reporter.begin(extent())
        reporter.planned(Plan(structure=(1, 2, 4), shards=1), FORECAST)
        for version in range(8):
            one = commit(version, loss=0.5, accuracy=0.5)
            reporter.committed(one.model_copy(update={"skips": 1}))
        reporter.evaluated(6, {"loss": 0.5, "accuracy": 0.5, "auc": 0.5})
        reporter.finished(OUTCOME)
        reporter.stopped(7, "s3://bucket/jobs/u/result/stopped-7.safetensors")
        return reporter.fields()

    assert set(asyncio.run(test())) == set(declared)


def test_a_burst_of_commits_becomes_one_report_and_the_last_word_is_said_at_the_end(tmp_path: Path) -> None:
    server = ApiServer()

    async def test() -> None:
        async with served(server, tmp_path) as api, ProgressReporter(tiny_job(), api) as reporter:
            await server.taken.wait()
            reporter.begin(extent())
            for version in range(7):
                reporter.committed(commit(version, loss=1.0))
                await asyncio.sleep(0)
            assert len(server.bodies) == 1

    asyncio.run(test())
    assert len(server.bodies) == 2
    assert server.last["step"] == 6


def test_reports_are_a_second_apart(tmp_path: Path) -> None:
    server = ApiServer()

    async def test() -> None:
        async with served(server, tmp_path) as api, ProgressReporter(tiny_job(), api) as reporter:
            reporter.begin(extent())
            while len(server.bodies) < 2:
                reporter.checkpointed(1)
                await asyncio.sleep(0.01)

    asyncio.run(test())
    assert server.times[1] - server.times[0] >= 0.99 * LEAST_SECONDS


def test_an_api_server_that_takes_no_report_stops_nothing_and_hears_the_last_word(tmp_path: Path) -> None:
    server = ApiServer(500, 409, 503)

    async def test() -> None:
        async with served(server, tmp_path) as api, ProgressReporter(tiny_job(), api) as reporter:
            reporter.begin(extent())
            while not server.bodies:
                await asyncio.sleep(0.01)
            reporter.committed(commit(3))

    asyncio.run(test())
    assert server.taken.is_set()
    assert server.last["step"] == 3


def test_no_api_server_at_all_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")

    async def test() -> None:
        absent = StatusApi("http://127.0.0.1:1", tmp_path, **TINY)
        async with ProgressReporter(tiny_job(), absent) as reporter:
            reporter.committed(commit(1))
        api = StatusApi("http://127.0.0.1:1", tmp_path, **TINY)
        with pytest.raises(NotReported, match="does not answer"):
            await api.apply({})
        await api.close()

    asyncio.run(test())


def test_losses_metrics_and_costs_are_reported_with_six_digits(tmp_path: Path) -> None:
    """A column of `kubectl get` shows every digit that it is given."""
    (tmp_path / "token").write_text("t")
    reporter = ProgressReporter(tiny_job(), StatusApi("http://127.0.0.1:1", tmp_path, **TINY))
    reporter.begin(extent())
    spent = Account(cost_usd=0.000012345678901)
    made = commit(1, loss=0.12345678901234567, accuracy=2 / 3)
    reporter.committed(made.model_copy(update={"account": spent}))
    reporter.evaluated(1, {"loss": 1234.5678901, "accuracy": 1 / 3, "auc": 1 / 7})
    said = reporter.fields()
    assert (said["loss"], said["accuracy"], said["costUSD"]) == (0.123457, 0.666667, 1.23457e-05)
    assert (said["validationLoss"], said["validationAccuracy"]) == (1234.57, 0.333333)
    assert said["validationMetrics"] == {"auc": 0.142857}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_left_out(tmp_path: Path, value: float) -> None:
    server = ApiServer()

    async def test() -> None:
        async with served(server, tmp_path) as api, ProgressReporter(tiny_job(), api) as reporter:
            reporter.begin(extent())
            reporter.committed(commit(2, loss=value))

    asyncio.run(test())
    assert "loss" not in server.last
    assert server.last["step"] == 2


def test_a_finished_job_is_all_done_even_where_its_target_came_early(tmp_path: Path) -> None:
    server = ApiServer()

    async def test() -> None:
        async with served(server, tmp_path) as api, ProgressReporter(tiny_job(), api) as reporter:
            reporter.begin(extent())
            reporter.committed(commit(6))
            reporter.finished(OUTCOME)

    asyncio.run(test())
    done = server.last
    assert (done["step"], done["percent"], done["estimatedSecondsLeft"], done["checkpoint"]) == (6, 100, 0, 6)
    assert (done["validationAccuracy"], done["costUSD"]) == (0.95, 0.01)


@pytest.mark.parametrize(
    ("progress", "uid", "status", "begun"),
    [
        ({"step": 3}, "an-uid", None, True),
        ({"checkpoint": 0}, "an-uid", None, True),
        ({"step": 0, "memory": {}}, "an-uid", None, False),
        ({"step": 3}, "of-an-earlier-job", None, False),
        ({"step": 3}, "an-uid", 403, False),
    ],
)
def test_a_driver_learns_whether_its_job_has_begun(
    tmp_path: Path, progress: dict[str, Any], uid: str, status: int | None, begun: bool
) -> None:
    server = ApiServer() if status is None else ApiServer(status)
    server.found = {"metadata": {"uid": uid}, "status": {"progress": progress}}

    async def test() -> bool:
        async with served(server, tmp_path) as api:
            try:
                return await api.has_begun()
            finally:
                await api.close()

    assert asyncio.run(test()) is begun
