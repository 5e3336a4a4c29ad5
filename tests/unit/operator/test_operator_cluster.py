"""The API client against a server that answers as an API server does."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from sapflow.kube.errors import ClusterError, ClusterUnavailable
from sapflow_operator.api import cluster as module
from sapflow_operator.api.cluster import Cluster

Answer = Callable[[web.Request], Coroutine[Any, Any, web.Response]]
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a-pool", "namespace": "team"}}


def run(
    answer: Answer,
    work: Callable[[Cluster], Coroutine[Any, Any, Any]],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    """Do `work` with a client whose kubeconfig names a server that answers by `answer`."""

    async def scenario() -> Any:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        config = {
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
            "users": [{"name": "u", "user": {"token": "mine"}}],
        }
        (folder / "config").write_text(yaml.safe_dump(config))
        monkeypatch.setenv("KUBECONFIG", str(folder / "config"))
        cluster = Cluster()
        try:
            return await work(cluster)
        finally:
            await cluster.close()
            await runner.cleanup()

    return asyncio.run(scenario())


def test_an_object_is_created_by_post_and_changed_by_a_forced_apply_of_one_manager_with_its_uid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, str, dict[str, str], str, Any]] = []

    async def answer(request: web.Request) -> web.Response:
        body = json.loads(await request.text() or "null")
        kind = request.headers.get("Content-Type", "")
        seen.append((request.method, request.path, dict(request.query), kind, body))
        assert request.headers["Authorization"] == "Bearer mine"
        return web.json_response({"metadata": {}})

    async def work(cluster: Cluster) -> None:
        await cluster.create(SECRET)
        await cluster.change(SECRET, "its-uid")

    run(answer, work, tmp_path, monkeypatch)
    folder, manager = "/api/v1/namespaces/team/secrets", {"fieldManager": "sapflow-operator"}
    changed = {**SECRET, "metadata": {"name": "a-pool", "namespace": "team", "uid": "its-uid"}}
    assert seen == [
        ("POST", folder, manager, "application/json", SECRET),
        ("GET", f"{folder}/a-pool", {}, "", None),
        (
            "PATCH",
            f"{folder}/a-pool",
            {**manager, "force": "true"},
            "application/apply-patch+yaml",
            changed,
        ),
    ]


def test_what_is_missing_is_none_and_what_is_refused_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(request: web.Request) -> web.Response:
        status = 404 if request.path.endswith("absent") else 403
        return web.json_response({"message": "no"}, status=status)

    async def work(cluster: Cluster) -> None:
        assert await cluster.get("Job", "team", "absent") is None
        await cluster.delete("Job", "team", "absent")
        with pytest.raises(ClusterError, match="403: no"):
            await cluster.get("Job", "team", "other")

    run(answer, work, tmp_path, monkeypatch)


def test_a_long_list_is_read_page_by_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(dict(request.query))
        page = int(request.query.get("continue", "0"))
        more = {"continue": str(page + 1)} if page < 2 else {}
        return web.json_response({"metadata": more, "items": [{"metadata": {"name": f"pod-{page}"}}]})

    found = run(answer, lambda cluster: cluster.list("Pod", "team", "a=b"), tmp_path, monkeypatch)
    assert [each["metadata"]["name"] for each in found] == ["pod-0", "pod-1", "pod-2"]
    assert {each["kind"] for each in found} == {"Pod"}
    assert [each.get("continue") for each in seen] == [None, "1", "2"]
    assert all(each["labelSelector"] == "a=b" and each["limit"] == "200" for each in seen)


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_an_answer_to_try_again_for_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(module, "PATIENCE", replace(module.PATIENCE, pause=0.0))
    answers = [status, status, 200]

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"items": []}, status=answers.pop(0))

    assert run(answer, lambda cluster: cluster.list("Pod", "team"), tmp_path, monkeypatch) == []
    assert answers == []


def test_an_api_server_that_stays_away_is_said_so_after_a_few_tries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", replace(module.PATIENCE, pause=0.0))
    tries = []

    async def answer(request: web.Request) -> web.Response:
        tries.append(request)
        return web.Response(status=503, text="busy")

    async def work(cluster: Cluster) -> None:
        with pytest.raises(ClusterUnavailable):
            await cluster.get("Job", "team", "a")

    run(answer, work, tmp_path, monkeypatch)
    assert 1 < len(tries) < 10


def test_requests_that_wait_for_a_connection_outlive_a_renewed_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were given up once, with the session of the login before."""
    monkeypatch.setattr(module, "_CONNECTIONS", 1)
    monkeypatch.setattr(module, "PATIENCE", replace(module.PATIENCE, tries=1))
    asked: list[str] = []
    held = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.headers["Authorization"])
        if len(asked) == 1:
            await held.wait()
        return web.json_response({"metadata": {"name": request.path[-1]}})

    async def work(cluster: Cluster) -> list[Any]:
        gets = []
        for name in "abc":
            gets.append(asyncio.create_task(cluster.get("Job", "team", name)))
            while len(asked) < 1:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0)
            config = (tmp_path / "config").read_text()
            (tmp_path / "config").write_text(config.replace("mine", f"mine-after-{name}", 1))
            cluster._api._access.refused()
        held.set()
        return list(await asyncio.gather(*gets))

    found = run(answer, work, tmp_path, monkeypatch)
    assert [each["metadata"]["name"] for each in found] == ["a", "b", "c"]
    assert sorted(asked) == ["Bearer mine", "Bearer mine-after-a", "Bearer mine-after-b-after-a"]


@pytest.mark.parametrize(("resources", "expected"), [(["pods", "pods/resize"], True), (["pods"], False)])
def test_whether_pods_can_be_resized_is_read_from_discovery(
    resources: list[str], expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.path == "/api/v1"
        return web.json_response({"resources": [{"name": name} for name in resources]})

    assert run(answer, lambda cluster: cluster.resizes(), tmp_path, monkeypatch) is expected


@pytest.mark.parametrize("status", [200, 404])
def test_a_cpu_limit_is_applied_to_the_pods_subresource_and_a_pod_may_be_gone(
    status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((request.method, request.path, json.loads(await request.text())["spec"]))
        return web.json_response({}, status=status)

    async def work(cluster: Cluster) -> None:
        await cluster.limit_cpu("team", "w", "user-container", "290m")

    run(answer, work, tmp_path, monkeypatch)
    container = {"name": "user-container", "resources": {"limits": {"cpu": "290m"}}}
    expected = ("PATCH", "/api/v1/namespaces/team/pods/w/resize", {"containers": [container]})
    assert seen == [expected]
