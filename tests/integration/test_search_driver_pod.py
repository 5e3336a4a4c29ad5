"""The driver of a search as its pod runs it: real functions over HTTP, its store, its reports, its trials' objects."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from helpers.jobs import document as job_document
from helpers.searches import search_document
from test_driver_pod import TOKEN, Service

from sapflow.errors import JobFailed
from sapflow.kube.access import Access
from sapflow.kube.client import ApiClient
from sapflow.objects import keys
from sapflow.objects.stores.factory import open_store
from sapflow.quantities.roles import Role
from sapflow.records.commits import Records
from sapflow.runtimes.knative import KnativeSender
from sapflow.spec import resolved_search, tuning_document
from sapflow.spec.resolved_search import ResolvedSearch
from sapflow.spec.tuning_job import TuningJob
from sapflow_operator import names
from sapflow_operator.driver_pod.reports import StatusApi
from sapflow_operator.driver_pod.search import SearchDriver, read_search
from sapflow_operator.driver_pod.settings import DriverSettings

RATE = "spec.optimizer.learningRate"
IMAGES = {"worker": "registry/worker:1", "merger": "registry/merger:1"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[Role, str]]]:
    """A store's folder, and the URLs of the functions on it."""
    store = tmp_path_factory.mktemp("store")
    roles: tuple[Role, ...] = ("worker", "merger")
    with ExitStack() as stack:
        yield store, {role: stack.enter_context(closing(Service(role, store))).url for role in roles}


def tuning(uid: str, **spec: Any) -> TuningJob:
    template = job_document(merge_structure=[1, 1], workers=1, algorithm_steps=2)["spec"]
    fields: dict[str, Any] = {
        "template": {"spec": template},
        "parameters": [{"path": RATE, "float": {"min": 0.01, "max": 1.0, "log": True}}],
        "objective": {"metric": "loss", "direction": "Minimize"},
        "search": {"name": "Random", "seed": 0},
        "maxTrials": 3,
        "parallelTrials": 1,
        "maxWorkers": 2,
    }
    body = search_document(**(fields | spec))
    body["metadata"] |= {"namespace": "here", "uid": uid}
    return tuning_document.parse(body, "kubernetes")


class ApiServer:
    """Takes reports and the objects of trials; a watch of them says nothing."""

    def __init__(self, uid: str) -> None:
        self.uid, self.status = uid, dict[str, Any]()
        self.reports: list[dict[str, Any]] = []
        self.trials: dict[str, dict[str, Any]] = {}

    async def get(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch"):
            await asyncio.sleep(3600)
        if request.path.endswith("/status"):
            return web.json_response({"metadata": {"uid": self.uid}, "status": self.status})
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": []})

    async def patch(self, request: web.Request) -> web.Response:
        body = json.loads(await request.text())
        if "progress" in body.get("status", {}):
            self.reports.append(body["status"]["progress"])
        elif body.get("kind") == "Trial":
            self.trials[body["metadata"]["name"]] = body
        return web.json_response({})


def drive(
    job: TuningJob,
    place: tuple[Path, dict[Role, str]],
    account: Path,
    stop_when: Callable[[ApiServer], bool] | None = None,
) -> tuple[dict[str, Any], ApiServer]:
    """The outcome of a driver on these functions, and what it has told the API server. Where `stop_when` comes true it
    is stopped, as by SIGTERM, and has no outcome."""
    folder, urls = place
    uid = str(getattr(job.metadata, "uid", ""))
    store, server = open_store(str(folder)), ApiServer(uid)
    resolved = ResolvedSearch(job, keys.job(uid), "kubernetes")
    settings = DriverSettings.from_environment(
        {
            "SAPFLOW_STORE": store.url,
            "SAPFLOW_TOKEN_FILE": "token",
            "KUBERNETES_SERVICE_HOST": "unused",
            "SAPFLOW_IMAGES": json.dumps(IMAGES),
        }
    ).model_copy(update={"metrics_port": 0})
    (account / "token").write_text("t")

    async def run() -> dict[str, Any]:
        app = web.Application()
        app.router.add_patch("/{path:.*}", server.patch)
        app.router.add_get("/{path:.*}", server.get)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        at = {"namespace": "here", "name": job.metadata.name, "uid": uid}
        api = StatusApi(url, account, resource=names.TUNING_JOB, **at)
        sender = KnativeSender(urls, lambda: TOKEN, instances=dict.fromkeys(urls, 1), start_seconds=20)
        try:
            driver = asyncio.create_task(
                SearchDriver(resolved, store, sender, settings).run(api, ApiClient(Access(url)))
            )
            while stop_when is not None and not driver.done():
                if stop_when(server):
                    driver.cancel()
                    await asyncio.wait({driver})
                    return {}
                await asyncio.sleep(0.01)
            return await driver
        finally:
            await sender.close()
            await runner.cleanup()

    return asyncio.run(run()), server


def test_a_search_is_run_with_its_data_cut_by_a_worker_and_is_reported_and_shown(
    place: tuple[Path, dict[Role, str]], tmp_path: Path
) -> None:
    outcome, server = drive(tuning("one"), place, tmp_path)
    assert outcome["endedBy"] == "Completed"
    last = server.reports[-1]
    assert (last["trials"], last["finished"], last["running"]) == ("3/3", 3, 0)
    assert last["best"]["trial"] == outcome["trial"]
    assert {each["status"]["state"] for each in server.trials.values()} == {"Finished"}
    assert sorted(server.trials) == ["search-0", "search-1", "search-2"]
    store = open_store(str(place[0]))
    assert store.exists(keys.result(keys.job("one"), "model.safetensors"))
    written = json.loads(bytes(store.read(keys.spec(keys.job("one")))))
    assert resolved_search.read(written, keys.job("one")).job.spec == tuning("one").spec
    again, server = drive(tuning("one"), place, tmp_path)
    assert again == outcome
    assert server.reports[-1]["trials"] == "3/3"


def test_the_versions_of_a_trial_name_the_images_that_computed_them(
    place: tuple[Path, dict[Role, str]], tmp_path: Path
) -> None:
    drive(tuning("images", maxTrials=1), place, tmp_path)
    records = Records(open_store(str(place[0])), keys.trial(keys.job("images"), 0))
    last = asyncio.run(records.last())
    assert last is not None
    assert last.measured.images == IMAGES


def test_a_search_that_has_ended_goes_on_when_more_trials_are_allowed(
    place: tuple[Path, dict[Role, str]], tmp_path: Path
) -> None:
    first, _ = drive(tuning("more", maxTrials=1), place, tmp_path)
    second, server = drive(tuning("more", maxTrials=2), place, tmp_path)
    assert server.reports[-1]["trials"] == "2/2"
    assert second["objective"] <= first["objective"]


def test_the_time_that_a_search_has_run_goes_on_with_its_next_driver(
    place: tuple[Path, dict[Role, str]], tmp_path: Path
) -> None:
    _, server = drive(tuning("long", maxTrials=2), place, tmp_path)
    before = server.reports[-1]["secondsActive"]
    assert before > 0
    _, server = drive(tuning("long", maxTrials=3), place, tmp_path)
    assert server.reports[0]["secondsActive"] >= before
    assert server.reports[-1]["secondsActive"] > before


def test_trials_that_fail_fail_alone_and_a_search_without_a_result_fails(
    place: tuple[Path, dict[Role, str]], tmp_path: Path
) -> None:
    hopeless = tuning(
        "hopeless", parameters=[{"path": RATE, "categorical": {"choices": [1e37, 2e37]}}], maxTrials=2
    )
    with pytest.raises(JobFailed, match="no trial has come to a result"):
        drive(hopeless, place, tmp_path)


def test_trials_of_a_driver_that_is_stopped_are_shown_as_paused(
    place: tuple[Path, dict[Role, str]], tmp_path: Path
) -> None:
    long = job_document(merge_structure=[1, 1], workers=1, algorithm_steps=2_000)["spec"]

    def at_work(server: ApiServer) -> bool:
        return any(each["status"]["state"] == "Running" for each in server.trials.values())

    _, server = drive(tuning("stopped", template={"spec": long}), place, tmp_path, at_work)
    assert [each["status"]["state"] for each in server.trials.values()] == ["Paused"]
    assert (server.reports[-1]["running"], server.reports[-1]["paused"]) == (0, 1)


def test_a_search_is_read_as_the_operator_writes_it(tmp_path: Path) -> None:
    file = tmp_path / names.JOB_KEY
    file.write_text(json.dumps(tuning("u").to_json()))
    settings = DriverSettings(store="s", token_file="t", api_host="h", job_file=file)
    found = read_search(settings)
    assert (found.job.spec, found.uid) == (tuning("u").spec, "u")
