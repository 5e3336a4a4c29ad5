"""A driver as its pod runs it: real functions over HTTP, its store, its reports, its end."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from helpers.jobs import document

from sapflow.client import predict
from sapflow.driver.outage import FIRST_PAUSE, Outage
from sapflow.errors import JobFailed, ObjectMissing, SpecError, StoreUnavailable
from sapflow.objects import keys
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store
from sapflow.quantities.roles import Role
from sapflow.records.commits import Commit, Records
from sapflow.records.memory_search import SearchSettings
from sapflow.runtimes.knative import KnativeSender
from sapflow.spec.document import parse
from sapflow.spec.resolved import ResolvedJob
from sapflow_operator import names
from sapflow_operator.driver_pod import driver
from sapflow_operator.driver_pod.driver import JobDriver, exit_code_of
from sapflow_operator.driver_pod.reports import StatusApi
from sapflow_operator.driver_pod.settings import DriverSettings

TOKEN = "a-token"


def job(
    uid: str = "an-uid", search: SearchSettings | None = None, *, steps: int = 3, **changes: Any
) -> ResolvedJob:
    body = document(merge_structure=[1, 2], workers=2, algorithm_steps=steps, **changes)
    body["metadata"] |= {"namespace": "here", "uid": uid}
    return ResolvedJob(parse(body, "kubernetes"), keys.job(uid), "kubernetes", search)


class Service:
    """One function process on a port of its own, as the one instance of a service."""

    def __init__(self, role: Role, store: Path, **variables: str) -> None:
        self._lifeline, theirs = socket.socketpair()
        environ = {"PATH": os.environ["PATH"], "SAPFLOW_TOKEN": TOKEN, "SAPFLOW_STORE": str(store)}
        command = [
            sys.executable,
            "-m",
            f"sapflow_functions.roles.{role}",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
        ]
        with theirs:
            self._process = subprocess.Popen(
                [*command, "--lifeline", str(theirs.fileno())],
                env=environ | {"OMP_NUM_THREADS": "1", "SAPFLOW_LOG_LEVEL": "WARNING"} | variables,
                pass_fds=[theirs.fileno()],
            )
        ready = self._lifeline.recv(64).decode()
        self.url = f"http://127.0.0.1:{ready.split()[1]}/invoke"

    def close(self) -> None:
        self._lifeline.close()
        self._process.wait()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[Role, str]]]:
    """A store's folder, and the URLs of the functions on it."""
    store = tmp_path_factory.mktemp("store")
    roles: tuple[Role, ...] = ("worker", "merger")
    with ExitStack() as stack:
        yield store, {role: stack.enter_context(closing(Service(role, store))).url for role in roles}


class ApiServer:
    """An API server that keeps the status of one job."""

    def __init__(
        self,
        progress: dict[str, Any],
        uid: str = "an-uid",
        *,
        suspended: bool = False,
        stops_at: int | None = None,
    ) -> None:
        """`stops_at`: the step after which the driver is told to end."""
        self.reports: list[dict[str, Any]] = []
        self._found = {
            "metadata": {"uid": uid},
            "spec": {"suspend": suspended},
            "status": {"progress": progress},
        }
        self._stops_at = stops_at
        self.driving: asyncio.Task[dict[str, Any]] | None = None

    async def get(self, request: web.Request) -> web.Response:
        return web.json_response(self._found)

    async def patch(self, request: web.Request) -> web.Response:
        self.reports.append(json.loads(await request.text())["status"]["progress"])
        if self._stops_at is not None and self.reports[-1].get("step", 0) >= self._stops_at and self.driving:
            self._stops_at = None
            self.driving.cancel()
        return web.json_response({})


def drive(
    job: ResolvedJob,
    store: Store,
    urls: dict[Role, str],
    account: Path,
    progress: dict[str, Any] | None = None,
    server: ApiServer | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The outcome and the reports of a driver on these functions; `progress` is what an earlier one has reported."""
    settings = DriverSettings(store=store.url, token_file="token", api_host="unused", metrics_port=0)
    (account / "token").write_text("t")
    server = server or ApiServer(progress or {})

    async def run() -> dict[str, Any]:
        app = web.Application()
        app.router.add_patch("/{path:.*}", server.patch)
        app.router.add_get("/{path:.*}", server.get)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        at = {"namespace": "here", "name": job.job.metadata.name, "uid": "an-uid"}
        api = StatusApi(url, account, resource=names.TRAINING_JOB, **at)
        sender = KnativeSender(urls, lambda: TOKEN, instances=dict.fromkeys(urls, 1), start_seconds=20)
        try:
            server.driving = asyncio.create_task(JobDriver(job, store, sender, settings).run(api))
            return await server.driving
        finally:
            await sender.close()
            await runner.cleanup()

    return asyncio.run(run()), server.reports


def test_trains_with_its_data_cut_by_a_worker_and_reports_to_the_end(
    place: tuple[Path, dict[Role, str]], tmp_path: Path
) -> None:
    folder, urls = place
    outcome, reports = drive(job(), open_store(str(folder)), urls, tmp_path)
    assert outcome["version"] == 3
    assert outcome["account"]["invocations"] >= 1 + 1 + 3 * 3
    assert (reports[-1]["step"], reports[-1]["percent"]) == (3, 100)
    again, reports = drive(job(), open_store(str(folder)), urls, tmp_path)
    assert again == outcome
    assert reports[-1]["percent"] == 100


def test_a_search_asks_for_another_size_once_the_first_is_measured(
    place: tuple[Path, dict[Role, str]], tmp_path: Path
) -> None:
    folder, urls = place
    search = SearchSettings(
        goal="Cost", every_steps=2, max_updates=5, start=512, least=64, most=1024, settle_seconds=0
    )
    sought = job("sought", search, algorithm_seed=5)
    with closing(Service("worker", folder, SAPFLOW_MEMORY_BYTES=str(512 << 20))) as worker:
        _, reports = drive(sought, open_store(str(folder)), {**urls, "worker": worker.url}, tmp_path)
    asked = reports[-1]["memory"]
    assert asked["searching"]
    assert asked["worker"] != "512Mi"
    # It is not given here: nothing but the first size is ever tried.
    (trial,) = asked["trials"]
    assert trial["worker"] == "512Mi"
    assert trial["secondsPerStep"] > 0
    assert trial["costUSD"] > 0


@pytest.mark.parametrize("suspended", [True, False])
def test_the_driver_of_a_suspended_job_leaves_its_model_and_one_that_is_only_stopped_does_not(
    place: tuple[Path, dict[Role, str]], tmp_path: Path, suspended: bool
) -> None:
    folder, urls = place
    uid = f"suspended-{suspended}"
    endless, store = job(uid, steps=100_000), open_store(str(folder))

    server = ApiServer({}, suspended=suspended, stops_at=1)
    with pytest.raises(asyncio.CancelledError):
        drive(endless, store, urls, tmp_path, server=server)
    left = server.reports[-1].get("stopped")
    if not suspended:
        assert left is None
        return
    last = asyncio.run(Records(store, endless.prefix).last())
    assert last is not None
    key = keys.result(endless.prefix, f"stopped-{last.version}.safetensors")
    assert left == {"version": last.version, "uri": f"{store.url}/{key}"}
    model = predict.load(str(folder / key))
    assert model.description.task == "classification"


class AwayOnce:
    """A store that is away the first time that a commit is made."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.failed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def create(self, key: str, parts: Any, *, durable: bool = False) -> bool:
        if key.endswith("commits/2.json") and not self.failed:
            self.failed = True
            raise StoreUnavailable("the store is away")
        return self._store.create(key, parts, durable=durable)


def test_waits_for_a_store_that_is_away_and_leaves_no_record_of_a_failure(
    place: tuple[Path, dict[Role, str]], tmp_path: Path
) -> None:
    folder, urls = place
    waited = job("waited", algorithm_seed=9)
    store = AwayOnce(open_store(str(folder)))
    outcome, _ = drive(waited, store, urls, tmp_path)
    assert store.failed
    assert outcome["version"] == 3
    assert not any(store.exists(keys.failure(keys.job("waited"), version)) for version in range(4))


def test_a_job_that_has_begun_and_is_not_in_the_store_fails_and_does_not_begin_anew(
    place: tuple[Path, dict[Role, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, urls = place
    forgotten, store = job("forgotten"), open_store(str(folder))
    monkeypatch.setattr(driver, "PATIENCE", {ObjectMissing.reason: 1.5})
    with pytest.raises(
        ObjectMissing, match=r"jobs/forgotten/commits/0\.json is gone .* version 0 was committed"
    ):
        drive(forgotten, store, urls, tmp_path, {"step": 7})
    assert not list(store.list(forgotten.prefix))
    assert drive(forgotten, store, urls, tmp_path, {"step": 0})[0]["version"] == 3


def test_objects_that_seem_to_be_gone_are_waited_for_a_while() -> None:
    now = 0.0
    outage = Outage(driver.PATIENCE, lambda: now)
    for error in (ObjectMissing("gone"), JobFailed("torn", reason="CorruptObject", version=3)):
        assert outage.pause_after(error) is not None
    now = 30.0
    assert outage.pause_after(ObjectMissing("gone")) is None


def test_a_job_that_cannot_go_on_fails_at_once(place: tuple[Path, dict[Role, str]], tmp_path: Path) -> None:
    folder, urls = place
    bad = job("bad", data_source="sklearn:nothing")
    with pytest.raises(JobFailed, match="nothing"):
        drive(bad, open_store(str(folder)), urls, tmp_path)


def test_an_outage_is_waited_for_until_patience_ends_and_a_commit_ends_it() -> None:
    now = 0.0
    outage = Outage(driver.PATIENCE, lambda: now)
    away = StoreUnavailable("away")
    assert outage.pause_after(away) == FIRST_PAUSE
    assert outage.pause_after(JobFailed("x", reason="StoreUnavailable", version=3)) == 2 * FIRST_PAUSE
    now = driver.PATIENCE["StoreUnavailable"]
    assert outage.pause_after(away) is None
    commit: Any = Commit
    outage.committed(commit.model_construct(version=4))
    assert outage.pause_after(away) == FIRST_PAUSE
    assert outage.pause_after(JobFailed("x", reason="OutOfMemory", version=3)) is None


async def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "code", "word"),
    [
        (JobFailed("no more", reason="BudgetExceeded", version=7), 3,
         {"reason": "BudgetExceeded", "message": "no more", "version": 7}),
        (SpecError([("spec.workers", "is wrong")]), 3,
         {"reason": "InvalidSpec", "message": "spec.workers: is wrong", "version": -1}),
        (StoreUnavailable("away"), 1, None),
        (JobFailed("away", reason="StoreUnavailable", version=7), 1, None),
    ],
)  # fmt: skip
def test_the_exit_code_tells_a_failure_from_a_crash_and_the_message_says_why(
    tmp_path: Path, error: Exception, code: int, word: dict[str, Any] | None
) -> None:
    log = tmp_path / "termination-log"
    assert exit_code_of(lambda: _raise(error), log) == code
    assert (json.loads(log.read_text()) if log.exists() else None) == word


def test_a_long_message_is_cut_to_what_kubernetes_keeps(tmp_path: Path) -> None:
    log = tmp_path / "termination-log"
    exit_code_of(lambda: _raise(JobFailed("ö" * 9000, reason="R", version=1)), log)
    assert len(log.read_bytes()) <= 4096
    assert json.loads(log.read_text())["reason"] == "R"


def test_a_signal_stops_it_in_an_orderly_way_and_its_exit_code_is_no_verdict(tmp_path: Path) -> None:
    cleaned = threading.Event()

    async def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    assert exit_code_of(work, tmp_path / "log") == 143
    assert cleaned.is_set()
    assert not (tmp_path / "log").exists()


def test_settings_name_the_variables_that_are_missing() -> None:
    with pytest.raises(SpecError) as caught:
        DriverSettings.from_environment({"KUBERNETES_SERVICE_PORT": "many"})
    named = {name for name, _ in caught.value.problems}
    assert named == {
        "SAPFLOW_STORE",
        "SAPFLOW_TOKEN_FILE",
        "KUBERNETES_SERVICE_HOST",
        "KUBERNETES_SERVICE_PORT",
    }


def test_a_pod_that_is_told_nothing_is_a_crash_and_says_what_is_missing() -> None:
    environ = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    command = [sys.executable, "-m", "sapflow_operator.driver_pod.driver"]
    ended = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "SAPFLOW_STORE" in json.loads(ended.stderr)["message"]


def settings_of(folder: Path, written: object) -> DriverSettings:
    """Of a pod in which the operator has written this."""
    (folder / "job.json").write_text(json.dumps(written))
    return DriverSettings(store="s", token_file="t", api_host="h", job_file=folder / "job.json")


def test_a_driver_reads_the_whole_job_with_its_search_from_one_file(tmp_path: Path) -> None:
    search = SearchSettings(goal="Cost", every_steps=2, max_updates=5, start=512, least=64, most=1024)
    asked = job("one", search, cpu={"merger": "2"}, memory={"growOnOOM": True, "optimize": {"goal": "Cost"}})
    read = settings_of(tmp_path, asked.to_json()).read_job()
    assert read == asked
    assert (read.uid, read.search, read.job.cpus["merger"]) == ("one", search, 2.0)
    assert settings_of(tmp_path, job().to_json()).read_job().search is None
    with pytest.raises(SpecError, match=r"memorySearch\.goal"):
        settings_of(tmp_path, asked.to_json() | {"memorySearch": {"goal": "Speed"}}).read_job()


def test_the_api_servers_address_may_be_of_either_kind() -> None:
    for host, url in (("10.0.0.1", "https://10.0.0.1:443"), ("fd00::1", "https://[fd00::1]:443")):
        assert DriverSettings(store="s", token_file="t", api_host=host).api_url == url


def test_a_job_file_without_uid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"metadata\.uid"):
        settings_of(tmp_path, document()).read_job()
