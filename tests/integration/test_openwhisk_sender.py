"""Functions as OpenWhisk actions, through a small gateway that drives real function processes by /init and /run."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.jobs import document
from helpers.openwhisk_gateway import AUTH, Gateway
from s3_servers import S3Service

from sapflow.errors import InstanceLost, InvocationError, InvocationTimeout, OutOfMemory
from sapflow.runtimes.openwhisk import Action, OpenWhiskSender, reply_of
from sapflow.runtimes.sender import Reply

TOKEN = "a-token"
Use = Callable[[OpenWhiskSender], Awaitable[Any]]


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ow")


def action(tmp_path: Path, *, seconds: float = 60.0, token: str = TOKEN) -> Action:
    told = {"SAPFLOW_TOKEN": token, "SAPFLOW_STORE": str(tmp_path / "store"), "SAPFLOW_S3_SECRET_KEY": ""}
    return Action("sapflow-job-worker", "sapflow/test", 200_000_000, seconds, told)


def on_gateway(folder: Path, use: Use, *, auth: str = AUTH, **options: Any) -> tuple[Gateway, Any]:
    """What `use` makes of a sender whose action has been created, and the gateway afterwards."""
    gateway_options = {name: options.pop(name) for name in ("blocking_seconds",) if name in options}
    throttled = options.pop("throttled", 0)
    seconds = options.pop("seconds", 60.0)

    async def main() -> tuple[Gateway, Any]:
        async with Gateway(folder, **gateway_options) as gateway:
            gateway.throttled = throttled
            sender = OpenWhiskSender(
                gateway.url, auth, {"worker": action(folder, seconds=seconds)}, TOKEN, instances=4, **options
            )
            try:
                await sender.create()
                return gateway, await use(sender)
            finally:
                await sender.close()

    return asyncio.run(main())


def invoke(request: dict[str, Any], seconds: float = 30.0) -> Use:
    async def use(sender: OpenWhiskSender) -> Reply:
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
    async def use(sender: OpenWhiskSender) -> list[Reply]:
        return [await sender.invoke("worker", {"op": "noop"}, seconds=30) for _ in range(2)]

    _, (cold, warm) = on_gateway(folder, use)
    assert cold.cold_seconds > cold.seconds
    assert warm.cold_seconds == 0
    assert warm.queue_seconds >= 0.005


def test_what_takes_longer_than_a_blocking_call_may_is_polled(folder: Path) -> None:
    gateway, reply = on_gateway(folder, invoke({"op": "wait", "duration": 0.3}), blocking_seconds=0.05)
    assert "pid" in reply.body
    assert next(gateway.polls) > 0


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
    async def use(sender: OpenWhiskSender) -> Reply:
        with pytest.raises(InstanceLost):
            await sender.invoke("worker", {"op": "crash"}, seconds=30)
        return await sender.invoke("worker", {"op": "noop"}, seconds=30)

    gateway, _ = on_gateway(folder, use)
    assert len(gateway.containers) == 2


def test_an_activation_that_never_ends_is_a_timeout(folder: Path) -> None:
    with pytest.raises(InvocationTimeout):
        on_gateway(folder, invoke({"op": "wait"}, 0.1), blocking_seconds=0.05, start_seconds=0.2)


def test_wrong_credentials_and_limits_that_openwhisk_refuses_are_named(folder: Path) -> None:
    with pytest.raises(InvocationError, match="authentication is invalid") as caught:
        on_gateway(folder, invoke({"op": "noop"}), auth="another:password")
    assert caught.value.reason == "StartFailed"
    with pytest.raises(InvocationError, match="milliseconds up to 600000"):
        on_gateway(folder, invoke({"op": "noop"}), seconds=3600.0)


@pytest.mark.parametrize(("url", "auth"), [("whisk.example", AUTH), ("https://whisk.example", "no-password")])
def test_an_address_or_credentials_of_another_form_are_refused(tmp_path: Path, url: str, auth: str) -> None:
    with pytest.raises(InvocationError, match=r"https://host|user:password"):
        OpenWhiskSender(url, auth, {"worker": action(tmp_path)}, TOKEN, instances=1)


def test_credentials_are_not_shown(tmp_path: Path) -> None:
    assert TOKEN not in repr(action(tmp_path))


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        ("action developer error", "The action exhausted its memory and was aborted.", OutOfMemory),
        (
            "action developer error",
            "The action exceeded its time limits of 60000 milliseconds.",
            InvocationTimeout,
        ),
        ("action developer error", "The action did not initialize and exited unexpectedly.", InstanceLost),
        ("whisk internal error", "Failed to provision resources to run the action.", InstanceLost),
    ],
)
def test_openwhisks_own_words_are_understood(status: str, message: str, kind: type[InvocationError]) -> None:
    record = {"response": {"status": status, "success": False, "result": {"error": message}}}
    with pytest.raises(kind, match="train version 2"):
        reply_of(record, {"op": "train", "version": 2}, 60.0)


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
        assert gateway.actions == {}


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
