"""Functions as OpenWhisk actions, through a small gateway that drives real function processes by /init and /run."""

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.jobs import document
from helpers.openwhisk_gateway import AUTH, Gateway
from s3_servers import S3Service

from sapflow.errors import InstanceLost, InvocationError, InvocationTimeout, OutOfMemory
from sapflow.messages.openwhisk import NO_FUNCTION
from sapflow.quantities.roles import Role
from sapflow.runtimes.openwhisk.action import Action
from sapflow.runtimes.openwhisk.api import Api
from sapflow.runtimes.openwhisk.limits import Limits, limits_of
from sapflow.runtimes.openwhisk.records import Call, reply_of
from sapflow.runtimes.openwhisk.sender import OpenWhiskSender
from sapflow.runtimes.sender import Reply

TOKEN = "a-token"
Use = Callable[[OpenWhiskSender, Gateway], Awaitable[Any]]


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ow")


def action(tmp_path: Path, **changes: Any) -> Action:
    told = {"SAPFLOW_TOKEN": TOKEN, "SAPFLOW_STORE": str(tmp_path / "store"), "SAPFLOW_S3_SECRET_KEY": ""}
    known = Action("sapflow-job-worker", "sapflow/test", 200_000_000, 90.0, told)
    return replace(known, **changes)


GATEWAY_OPTIONS = ("blocking_seconds", "limits", "pool", "hold_seconds", "log_seconds")
SENDER_OPTIONS = ("start_seconds", "remove_seconds")


def on_gateway(folder: Path, use: Use, *, auth: str = AUTH, **options: Any) -> tuple[Gateway, Any]:
    """What `use` makes of a sender whose action has been created, and of the gateway; and the gateway afterwards.

    `options` are those of the gateway and of the sender, `throttled`, and the rest is of the action.
    """
    for_gateway = {name: options.pop(name) for name in GATEWAY_OPTIONS if name in options}
    for_sender = {name: options.pop(name) for name in SENDER_OPTIONS if name in options}
    throttled = options.pop("throttled", 0)
    instances = options.pop("instances", 4)

    async def main() -> tuple[Gateway, Any]:
        async with Gateway(folder, **for_gateway) as gateway:
            gateway.throttled = throttled
            actions: dict[Role, Action] = {"worker": action(folder, **options)}
            api = Api(gateway.url, auth)
            sender = OpenWhiskSender(api, actions, TOKEN, instances=instances, **for_sender)
            try:
                await sender.create()
                return gateway, await use(sender, gateway)
            finally:
                await sender.close()

    return asyncio.run(main())


def invoke(request: dict[str, Any], seconds: float = 30.0) -> Use:
    async def use(sender: OpenWhiskSender, _: Gateway) -> Reply:
        return await sender.invoke("worker", request, seconds=seconds)

    return use


def test_an_action_is_made_from_the_image_with_the_specs_limits_and_removed_at_the_end(folder: Path) -> None:
    gateway, reply = on_gateway(folder, invoke({"op": "noop", "rank": 3}))
    assert reply.body["rank"] == 3
    (made,) = gateway.made
    assert made["exec"] == {"kind": "blackbox", "image": "sapflow/test", "binary": False}
    assert made["limits"] == {"memory": 191, "timeout": 90_000, "concurrency": 1}
    assert all(parameter["init"] for parameter in made["parameters"])
    assert gateway.actions == {}


def test_a_function_learns_store_and_token_from_init_and_nothing_from_its_environment(folder: Path) -> None:
    _, reply = on_gateway(folder, invoke({"op": "environment"}))
    assert "SAPFLOW_TOKEN" not in reply.body["environ"]
    assert 0 < reply.body["secondsLeft"] <= 30


def test_a_start_is_told_apart_from_a_warm_call(folder: Path) -> None:
    async def use(sender: OpenWhiskSender, gateway: Gateway) -> list[Reply]:
        return [await sender.invoke("worker", {"op": "noop"}, seconds=30) for _ in range(2)]

    _, (cold, warm) = on_gateway(folder, use)
    assert cold.cold_seconds > cold.seconds
    assert warm.cold_seconds == 0
    assert warm.queue_seconds >= 0.005


def test_what_takes_longer_than_a_blocking_call_may_is_polled(folder: Path) -> None:
    gateway, reply = on_gateway(folder, invoke({"op": "wait", "duration": 0.3}), blocking_seconds=0.05)
    assert "pid" in reply.body
    assert gateway.polls > 0


def test_a_namespace_that_is_at_its_limit_is_asked_again(folder: Path) -> None:
    _, reply = on_gateway(folder, invoke({"op": "noop"}), throttled=2)
    assert "pid" in reply.body


def test_a_namespace_that_stays_at_its_limit_is_named(folder: Path) -> None:
    with pytest.raises(InvocationError, match="Too many concurrent requests") as caught:
        on_gateway(folder, invoke({"op": "noop"}, 0.1), throttled=1000, start_seconds=0.1)
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("error", "kind", "reason", "retryable"),
    [
        ("data", InvocationError, "InvalidData", False),
        ("unavailable", InvocationError, "StoreUnavailable", True),
        ("memory", OutOfMemory, "OutOfMemory", False),
        ("unexpected", InvocationError, "Internal", False),
    ],
)
def test_a_functions_error_is_what_it_is_over_http(
    folder: Path, error: str, kind: type[InvocationError], reason: str, retryable: bool
) -> None:
    with pytest.raises(kind) as caught:
        on_gateway(folder, invoke({"op": "fail", "error": error}))
    assert (caught.value.reason, caught.value.retryable) == (reason, retryable)


def test_a_container_that_dies_is_a_lost_instance_and_the_next_call_gets_another(folder: Path) -> None:
    async def use(sender: OpenWhiskSender, gateway: Gateway) -> Reply:
        with pytest.raises(InstanceLost):
            await sender.invoke("worker", {"op": "crash"}, seconds=30)
        return await sender.invoke("worker", {"op": "noop"}, seconds=30)

    gateway, _ = on_gateway(folder, use)
    assert gateway.started == 2


def test_an_activation_that_never_ends_is_a_timeout(folder: Path) -> None:
    with pytest.raises(InvocationTimeout):
        on_gateway(folder, invoke({"op": "wait"}, 0.1), blocking_seconds=0.05, start_seconds=0.2)


def test_wrong_credentials_and_limits_that_openwhisk_refuses_are_named(folder: Path) -> None:
    with pytest.raises(InvocationError, match="authentication is invalid") as caught:
        on_gateway(folder, invoke({"op": "noop"}), auth="another:password")
    assert caught.value.reason == "StartFailed"
    with pytest.raises(InvocationError, match="exceeds allowed threshold of 300000 milliseconds"):
        on_gateway(folder, invoke({"op": "noop"}), time_limit=3600.0)


@pytest.mark.parametrize(("url", "auth"), [("whisk.example", AUTH), ("https://whisk.example", "no-password")])
def test_an_address_or_credentials_of_another_form_are_refused(url: str, auth: str) -> None:
    with pytest.raises(InvocationError, match=r"https://host|user:password"):
        Api(url, auth)


def test_credentials_are_not_shown(tmp_path: Path) -> None:
    assert TOKEN not in repr(action(tmp_path))


WORDS = [
    (
        "action developer error",
        "The action exhausted its memory and was aborted.",
        OutOfMemory,
        "OutOfMemory",
    ),
    (
        "action developer error",
        "The action exceeded its time limits of 60000 milliseconds.",
        InvocationTimeout,
        "InvocationTimeout",
    ),
    (
        "action developer error",
        "The action did not initialize and exited unexpectedly.",
        InstanceLost,
        "InstanceLost",
    ),
    (
        "whisk internal error",
        "Failed to provision resources to run the action.",
        InstanceLost,
        "InstanceLost",
    ),
    ("whisk internal error", "Failed to run container with image 'x'.", InvocationError, "StartFailed"),
    ("whisk internal error", "Failed to pull container image 'x'.", InvocationError, "StartFailed"),
    ("action developer error", f"{NO_FUNCTION}: SAPFLOW_STORE: is wrong", InvocationError, "StartFailed"),
]


@pytest.mark.parametrize(("status", "message", "kind", "reason"), WORDS)
def test_openwhisks_own_words_are_understood(
    status: str, message: str, kind: type[InvocationError], reason: str
) -> None:
    record = {
        "activationId": "abc",
        "response": {"status": status, "success": False, "result": {"error": message}},
    }
    call = Call("worker", {"op": "train", "version": 2}, "sapflow/worker")
    with pytest.raises(kind, match=r"train version 2 \(activation abc\)") as caught:
        reply_of(record, call)
    assert caught.value.reason == reason
    assert caught.value.retryable == (kind in (InstanceLost, InvocationTimeout))


def test_an_image_that_cannot_be_pulled_once_it_has_run_elsewhere_is_a_lost_instance() -> None:
    words = "Failed to pull container image 'x'."
    record = {"response": {"status": "whisk internal error", "success": False, "result": {"error": words}}}
    with pytest.raises(InstanceLost):
        reply_of(record, Call("worker", {"op": "train"}, "x", served=True))


def test_a_wrong_image_fails_at_once_and_is_named(folder: Path) -> None:
    with pytest.raises(InvocationError, match="can pull the image sapflow/wrokre") as caught:
        on_gateway(folder, invoke({"op": "noop"}), image="sapflow/wrokre")
    assert (caught.value.reason, caught.value.retryable) == ("StartFailed", False)


def test_parameters_that_make_no_function_fail_at_once(folder: Path) -> None:
    with pytest.raises(InvocationError, match="SAPFLOW_STORE") as caught:
        on_gateway(folder, invoke({"op": "noop"}), environ={"SAPFLOW_TOKEN": TOKEN})
    assert (caught.value.reason, caught.value.retryable) == ("StartFailed", False)


def test_a_process_that_died_idle_and_came_back_is_replaced(folder: Path) -> None:
    async def use(sender: OpenWhiskSender, gateway: Gateway) -> Reply:
        await sender.invoke("worker", {"op": "noop"}, seconds=30)
        await gateway.containers[0].die()
        with pytest.raises(InvocationError) as caught:
            await sender.invoke("worker", {"op": "noop"}, seconds=30)
        assert (caught.value.reason, caught.value.retryable) == ("NotConfigured", True)
        return await sender.invoke("worker", {"op": "noop"}, seconds=30)

    gateway, reply = on_gateway(folder, use)
    assert "pid" in reply.body
    assert gateway.started == 2


def test_a_killed_container_is_lost_perhaps_for_memory_and_its_activation_is_named(folder: Path) -> None:
    with pytest.raises(InstanceLost, match=r"killed for memory.*raise spec\.memory\.worker") as caught:
        on_gateway(folder, invoke({"op": "crash"}))
    assert re.search(r"\(activation [0-9a-f]{32}\)", str(caught.value))


def test_an_error_of_a_function_names_its_activation(folder: Path) -> None:
    with pytest.raises(InvocationError, match=r"fail \(activation [0-9a-f]{32}\): no such samples"):
        on_gateway(folder, invoke({"op": "fail", "error": "data"}))


def test_an_outage_of_the_api_is_waited_through(folder: Path) -> None:
    async def use(sender: OpenWhiskSender, gateway: Gateway) -> Reply:
        await sender.invoke("worker", {"op": "noop"}, seconds=30)
        await gateway.down()
        call = asyncio.create_task(sender.invoke("worker", {"op": "noop"}, seconds=30))
        await asyncio.sleep(1.0)
        assert not call.done()
        await gateway.up()
        return await call

    _, reply = on_gateway(folder, use)
    assert "pid" in reply.body


def test_a_record_is_polled_through_an_outage(folder: Path) -> None:
    async def use(sender: OpenWhiskSender, gateway: Gateway) -> Reply:
        call = asyncio.create_task(sender.invoke("worker", {"op": "wait", "duration": 0.5}, seconds=30))
        while not gateway.polls:
            await asyncio.sleep(0.01)
        await gateway.down()
        await asyncio.sleep(0.5)
        await gateway.up()
        return await call

    gateway, reply = on_gateway(folder, use, blocking_seconds=0.05)
    assert "pid" in reply.body
    assert len(gateway.records) == 1


def test_an_outage_longer_than_the_deadline_is_named(folder: Path) -> None:
    async def use(sender: OpenWhiskSender, gateway: Gateway) -> None:
        await gateway.down()
        try:
            await sender.invoke("worker", {"op": "noop"}, seconds=0.1)
        finally:
            await gateway.up()

    with pytest.raises(InstanceLost, match="no connection to OpenWhisk") as caught:
        on_gateway(folder, use, start_seconds=0.3)
    assert caught.value.retryable


def test_actions_go_although_the_api_is_away_at_the_end(folder: Path) -> None:
    async def main() -> Gateway:
        async with Gateway(folder) as gateway:
            sender = OpenWhiskSender(Api(gateway.url, AUTH), {"worker": action(folder)}, TOKEN, instances=1)
            await sender.create()
            await gateway.down()
            closing = asyncio.create_task(sender.close())
            await asyncio.sleep(0.5)
            await gateway.up()
            await closing
        return gateway

    assert asyncio.run(main()).actions == {}


def test_one_action_that_cannot_be_removed_keeps_no_other_and_is_named(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> Gateway:
        async with Gateway(folder) as gateway:
            actions: dict[Role, Action] = {
                "worker": action(folder),
                "merger": action(folder, name="sapflow-job-merger"),
            }
            sender = OpenWhiskSender(Api(gateway.url, AUTH), actions, TOKEN, instances=1)
            await sender.create()
            gateway.refused_deletions = 1
            await sender.close()
        return gateway

    assert list(asyncio.run(main()).actions) == ["sapflow-job-worker"]
    assert "wsk action delete sapflow-job-worker" in caplog.text
    assert "sapflow-job-merger" not in caplog.text


def test_an_action_whose_creation_was_not_answered_is_removed_too(folder: Path) -> None:
    async def main() -> Gateway:
        async with Gateway(folder) as gateway:
            api = Api(gateway.url, AUTH)
            sender = OpenWhiskSender(api, {"worker": action(folder)}, TOKEN, instances=1)
            insist = api.insist

            async def unanswered(*given: Any, **options: Any) -> Any:
                await insist(*given, **options)
                api.insist = insist  # type: ignore[method-assign]
                raise InstanceLost("no answer to PUT")

            api.insist = unanswered  # type: ignore[method-assign]
            with pytest.raises(InstanceLost):
                await sender.create()
            assert gateway.actions
            await sender.close()
        return gateway

    assert asyncio.run(main()).actions == {}


def test_the_time_of_a_pod_that_vanished_is_no_start(folder: Path) -> None:
    async def use(sender: OpenWhiskSender, gateway: Gateway) -> list[Reply]:
        first = await sender.invoke("worker", {"op": "noop"}, seconds=30)
        await gateway.vanish()
        return [first, await sender.invoke("worker", {"op": "noop"}, seconds=30)]

    gateway, (first, later) = on_gateway(folder, use, hold_seconds=3.0)
    assert gateway.started == 2
    assert first.cold_seconds > 0
    assert 0 < later.cold_seconds < 3
    assert later.queue_seconds >= 3


def test_openwhisk_cancels_nothing(folder: Path) -> None:
    async def use(sender: OpenWhiskSender, gateway: Gateway) -> None:
        call = asyncio.create_task(sender.invoke("worker", {"op": "wait", "duration": 0.5}, seconds=30))
        while not gateway.containers:
            await asyncio.sleep(0.01)
        call.cancel()
        while not gateway.records:
            await asyncio.sleep(0.01)

    gateway, _ = on_gateway(folder, use)
    (record,) = gateway.records.values()
    assert record["response"]["success"]


@pytest.mark.parametrize(("logs", "started"), [(None, 2), (0, 1)])
def test_containers_are_free_at_once_where_no_log_is_collected(
    folder: Path, logs: int | None, started: int
) -> None:
    async def use(sender: OpenWhiskSender, gateway: Gateway) -> None:
        for _ in range(2):
            await sender.invoke("worker", {"op": "noop"}, seconds=30)

    gateway, _ = on_gateway(folder, use, logs=logs, log_seconds=30.0)
    assert gateway.started == started
    assert gateway.made[0]["limits"].get("logs") == logs


def test_no_more_calls_are_at_work_than_containers_fit_into_the_pool(folder: Path) -> None:
    sizes: dict[Role, int] = {"worker": 200_000_000}
    instances = Limits(concurrent_invocations=30).instances(sizes, 400 << 20)
    assert instances == 2

    async def use(sender: OpenWhiskSender, gateway: Gateway) -> None:
        await asyncio.gather(*(sender.invoke("worker", {"op": "noop"}, seconds=30) for _ in range(6)))

    gateway, _ = on_gateway(folder, use, instances=instances, pool=400)
    assert gateway.most_at_once == 2
    assert gateway.started == 2


def test_limits_are_read_from_the_api(folder: Path) -> None:
    async def main() -> Limits:
        async with Gateway(folder) as gateway:
            api = Api(gateway.url, AUTH)
            try:
                return await limits_of(api)
            finally:
                await api.close()

    found = asyncio.run(main())
    assert (found.max_action_timeout, found.max_action_memory) == (300_000, 512)
    assert (found.concurrent_invocations, found.invocations_per_minute) == (30, 60)


class _GatewayThread:
    """A gateway beside a command line, in a thread with a loop of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with Gateway(self._folder) as self.gateway:
            self._ready.set()
            await self._stop.wait()

    def __enter__(self) -> Gateway:
        self._thread.start()
        assert self._ready.wait(30)
        return self.gateway

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()


def sapflow(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sapflow", *arguments]
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(command, env=inherited | environ, capture_output=True, text=True)


@pytest.mark.s3
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_job_trains_on_openwhisk_to_the_weights_of_a_local_run(
    minio: S3Service, tmp_path: Path, folder: Path
) -> None:
    spec = document(workers=2, merge_structure=[1, 2], algorithm_steps=3, evaluation_everySteps=3)
    file = tmp_path / "job.json"
    file.write_text(json.dumps(spec))
    keys = {
        "SAPFLOW_S3_ACCESS_KEY": minio.credentials.access_key,
        "SAPFLOW_S3_SECRET_KEY": minio.credentials.secret_key,
    }
    local = sapflow("run", str(file), "--store", str(tmp_path / "local"), "--json")
    assert local.returncode == 0, local.stderr
    with _GatewayThread(folder) as gateway:
        images = ["--worker-image", "sapflow/worker", "--merger-image", "sapflow/merger"]
        remote = sapflow(
            "run", str(file), "--store", minio.url("openwhisk"), "--json", "--openwhisk", gateway.url, *images,
            OW_AUTH=AUTH, **keys,
        )  # fmt: skip
        assert remote.returncode == 0, remote.stderr
        assert json.loads(remote.stdout)["sha256"] == json.loads(local.stdout)["sha256"]
        assert [made["name"].rpartition("-")[2] for made in gateway.made] == ["worker", "merger"]
        # The spec's 300 s and a start do not fit into what OpenWhisk allows by default.
        assert {made["limits"]["timeout"] for made in gateway.made} == {300_000}
        assert gateway.actions == {}


def openwhisk_run(
    minio: S3Service, file: Path, gateway: Gateway, *options: str
) -> subprocess.CompletedProcess[str]:
    keys = {
        "SAPFLOW_S3_ACCESS_KEY": minio.credentials.access_key,
        "SAPFLOW_S3_SECRET_KEY": minio.credentials.secret_key,
    }
    images = ["--worker-image", "sapflow/worker", "--merger-image", "sapflow/merger"]
    return sapflow(
        "run", str(file), "--store", minio.url("openwhisk"), "--openwhisk", gateway.url, *images, *options,
        OW_AUTH=AUTH, **keys,
    )  # fmt: skip


@pytest.mark.s3
def test_what_this_openwhisk_would_refuse_is_said_before_anything_starts(
    minio: S3Service, tmp_path: Path, folder: Path
) -> None:
    file = tmp_path / "job.json"
    spec = document(memory_worker="1Gi", memory_merger="100Mi", limits_invocationSeconds=600)
    file.write_text(json.dumps(spec))
    with _GatewayThread(folder) as gateway:
        refused = openwhisk_run(minio, file, gateway, "--action-logs", "20")
        assert gateway.made == []
    assert refused.returncode == 2, refused.stderr
    for words in (
        "spec.limits.invocationSeconds: is 600, and this OpenWhisk ends an activation after 300 s: give 300",
        "spec.memory.worker: is 1024Mi, and an action has 512Mi at most",
        "spec.memory.merger: is 100Mi, and an action has 128Mi at least",
        "--action-logs: is 20, and this OpenWhisk allows 0 to 10",
    ):
        assert words in refused.stderr


def test_what_a_run_on_openwhisk_lacks_is_said_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    file.write_text(json.dumps(document()))
    lacking = sapflow(
        "run", str(file), "--store", str(tmp_path / "store"), "--openwhisk", "http://127.0.0.1:1"
    )
    assert lacking.returncode == 2
    for name in ("OW_AUTH", "--worker-image", "--merger-image"):
        assert name in lacking.stderr
    images = ["--worker-image", "w", "--merger-image", "m"]
    directory = sapflow(
        "run",
        str(file),
        "--store",
        str(tmp_path / "store"),
        "--openwhisk",
        "http://127.0.0.1:1",
        *images,
        OW_AUTH=AUTH,
    )
    assert directory.returncode == 2
    assert "object store" in directory.stderr
