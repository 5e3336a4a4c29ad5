"""The sender to Knative Services, through a gateway that behaves as Knative's does, to real functions."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from function_process import TOKEN, FunctionProcess
from s3_servers import free_port

from sapflow.errors import InstanceLost, InvocationError, InvocationTimeout
from sapflow.runtimes.knative import KnativeSender, account
from sapflow.runtimes.sender import Reply
from sapflow.runtimes.way import FAILURES

Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]


PROXY_SAYS = {502: "dial tcp 127.0.0.1:8080: connect: connection refused\n"}
"""What a proxy says with a status, where it is not the activator."""


class Gateway:
    """What stands before a service: answers of its own as told, then whatever the function says."""

    def __init__(self, *answers: int | str, function: FunctionProcess | None = None) -> None:
        self.answers = list(answers)
        self.function = function
        self.start: Callable[[], FunctionProcess] | None = None
        self.seen: list[dict[str, Any]] = []
        self.tokens: list[str] = []
        self.at_once = self.most_at_once = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(await request.json())
        self.tokens.append(request.headers["Authorization"].removeprefix("Bearer "))
        if self.answers:
            answer = self.answers.pop(0)
            if answer == "hang up":
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            return web.Response(status=int(answer), text=PROXY_SAYS.get(int(answer), "activator overload"))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.function is None and self.start is not None:
                self.function = await asyncio.to_thread(self.start)
            return await self._forward(request)
        finally:
            self.at_once -= 1

    async def _forward(self, request: web.Request) -> web.Response:
        assert self.function is not None
        connector = aiohttp.UnixConnector(self.function.socket_path)
        headers = {"Authorization": request.headers["Authorization"]}
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.post("http://function/invoke", data=await request.read(), headers=headers) as response,
        ):
            kept = {name: value for name, value in response.headers.items() if name.startswith("x-sapflow")}
            return web.Response(status=response.status, body=await response.read(), headers=kept)


@asynccontextmanager
async def serve(handle: Handle, port: int = 0, healthz: Handle | None = None) -> AsyncIterator[str]:
    """The URL at which `handle` answers POST /invoke, beside GET /healthz."""
    app = web.Application()
    app.router.add_post("/invoke", handle)
    if healthz is not None:
        app.router.add_get("/healthz", healthz)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/invoke"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def sender_to(
    handle: Handle,
    *,
    instances: int = 4,
    start_seconds: float = 20.0,
    token: Callable[[], str] = lambda: TOKEN,
) -> AsyncIterator[KnativeSender]:
    async with serve(handle) as url:
        sender = KnativeSender(
            {"worker": url}, token, instances={"worker": instances}, start_seconds=start_seconds
        )
        try:
            yield sender
        finally:
            await sender.close()


def invoke_once(gateway: Gateway, request: dict[str, Any], *, seconds: float = 20, **options: Any) -> Reply:
    async def call() -> Reply:
        async with sender_to(gateway.handle, **options) as sender:
            return await sender.invoke("worker", request, seconds=seconds)

    return asyncio.run(call())


@pytest.fixture(scope="module")
def function(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with FunctionProcess(tmp_path_factory.mktemp("store")) as function:
        yield function


def test_what_no_function_has_seen_is_sent_again_until_one_answers(function: FunctionProcess) -> None:
    gateway = Gateway(503, 429, 404, 503, "hang up", function=function)
    reply = invoke_once(gateway, {"op": "noop", "rank": 2})
    assert reply.body == {"pid": function.process.pid, "rank": 2}
    assert len(gateway.seen) == 6
    assert all(request["secondsLeft"] == 20 for request in gateway.seen)


def test_a_call_waits_while_the_container_of_its_function_is_started_again(function: FunctionProcess) -> None:
    """Longer than a job's retries would last, because a container that was killed may be down for a while."""
    gateway = Gateway(*[502] * 8, function=function)
    assert invoke_once(gateway, {"op": "noop"}).body["pid"] == function.process.pid
    assert len(gateway.seen) == 9


def test_a_connection_that_broke_behind_the_proxy_may_have_been_seen(
    function: FunctionProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PROXY_SAYS, 502, "EOF\n")
    gateway = Gateway(502, function=function)
    with pytest.raises(InvocationError, match="HTTP 502") as caught:
        invoke_once(gateway, {"op": "noop"})
    assert caught.value.retryable
    assert len(gateway.seen) == 1


def test_an_address_where_nobody_listens_yet_is_tried_until_somebody_does(function: FunctionProcess) -> None:
    async def test() -> Reply:
        port = free_port()
        url = f"http://127.0.0.1:{port}/invoke"
        sender = KnativeSender({"worker": url}, lambda: TOKEN, instances={"worker": 1}, start_seconds=20)
        call = asyncio.create_task(sender.invoke("worker", {"op": "noop"}, seconds=20))
        await asyncio.sleep(0.1)
        async with serve(Gateway(function=function).handle, port):
            reply = await call
            await sender.close()
        return reply

    assert asyncio.run(test()).body["pid"] == function.process.pid


@pytest.mark.parametrize(
    ("error", "reason"), [("unavailable", "StoreUnavailable"), ("named", "TooTight"), ("data", "InvalidData")]
)
def test_an_error_of_a_function_is_the_drivers_at_once(
    function: FunctionProcess, error: str, reason: str
) -> None:
    gateway = Gateway(function=function)
    with pytest.raises(InvocationError) as caught:
        invoke_once(gateway, {"op": "fail", "error": error})
    assert caught.value.reason == reason
    assert len(gateway.seen) == 1


def test_a_busy_instance_is_asked_again_until_it_is_free(function: FunctionProcess) -> None:
    async def test() -> list[Reply]:
        gateway = Gateway(function=function)
        async with sender_to(gateway.handle) as sender:
            requests = ({"op": "wait", "duration": 0.2}, {"op": "wait", "duration": 0.2}, {"op": "noop"})
            return await asyncio.gather(*(sender.invoke("worker", r, seconds=20) for r in requests))

    replies = asyncio.run(test())
    assert [reply.body["pid"] for reply in replies] == [function.process.pid] * 3
    assert max(reply.queue_seconds for reply in replies) > 0


def test_gives_up_when_the_invocations_seconds_and_those_of_a_start_are_over() -> None:
    gateway = Gateway(*[503] * 1000)
    with pytest.raises(InvocationError, match="503 on the way") as caught:
        invoke_once(gateway, {"op": "noop"}, seconds=0.1, start_seconds=0.2)
    assert (caught.value.reason, caught.value.retryable) == ("Unavailable", True)
    assert len(gateway.seen) > 1


def test_no_answer_in_time_is_a_timeout(function: FunctionProcess) -> None:
    with pytest.raises(InvocationTimeout):
        invoke_once(Gateway(function=function), {"op": "wait"}, seconds=0.1, start_seconds=0.1)
    while function.invoke(op="noop")[0] == 429:
        pass


def test_a_connection_that_breaks_again_and_again_is_a_lost_instance() -> None:
    gateway = Gateway(*["hang up"] * 10)
    with pytest.raises(InstanceLost):
        invoke_once(gateway, {"op": "noop"})
    assert len(gateway.seen) == 3


def test_a_call_that_an_instance_was_started_for_knows_the_seconds_of_the_start(tmp_path: Path) -> None:
    async def test() -> tuple[list[Reply], Gateway]:
        gateway = Gateway()
        gateway.start = lambda: FunctionProcess(tmp_path)
        async with sender_to(gateway.handle) as sender:
            replies = [await sender.invoke("worker", {"op": "noop"}, seconds=20) for _ in range(2)]
        return replies, gateway

    (cold, warm), gateway = asyncio.run(test())
    assert gateway.function is not None
    with gateway.function:
        assert cold.cold_seconds > cold.seconds
        assert cold.queue_seconds < cold.cold_seconds
        assert warm.cold_seconds == 0
        assert warm.queue_seconds > 0


def test_the_first_call_of_an_instance_that_was_there_before_is_no_cold_start(tmp_path: Path) -> None:
    with FunctionProcess(tmp_path) as function:
        reply = invoke_once(Gateway(function=function), {"op": "noop"})
    assert reply.cold_seconds == 0


def test_the_functions_own_seconds_are_billed_and_the_rest_is_waiting() -> None:
    warm = account({}, {"x-sapflow-seconds": "0.2"}, waited=1.0, elapsed=0.5)
    assert (warm.seconds, warm.cold_seconds) == (0.2, 0.0)
    assert warm.queue_seconds == pytest.approx(1.3)
    cold = account({}, {"x-sapflow-seconds": "0.2", "x-sapflow-age": "0.25"}, waited=1.0, elapsed=0.5)
    assert (cold.seconds, cold.queue_seconds) == (0.2, 1.0)
    assert cold.cold_seconds == pytest.approx(0.3)
    plain = account({}, {}, waited=0.0, elapsed=0.5)
    assert (plain.seconds, plain.cold_seconds, plain.queue_seconds) == (0.5, 0.0, 0.0)


def test_a_reply_has_the_memory_limit_that_the_function_tells() -> None:
    told = account({}, {"x-sapflow-memory": "536870912"}, waited=0.0, elapsed=0.5)
    assert told.memory_bytes == 512 << 20
    assert account({}, {}, waited=0.0, elapsed=0.5).memory_bytes is None


def test_no_more_calls_are_under_way_than_the_service_has_instances(function: FunctionProcess) -> None:
    async def test() -> Gateway:
        gateway = Gateway(function=function)
        async with sender_to(gateway.handle, instances=2) as sender:
            await asyncio.gather(*(sender.invoke("worker", {"op": "noop"}, seconds=20) for _ in range(12)))
        return gateway

    assert asyncio.run(test()).most_at_once == 2


def test_each_call_carries_the_token_of_its_moment(function: FunctionProcess) -> None:
    tokens = iter(["old", TOKEN])

    async def test() -> Gateway:
        gateway = Gateway(503, function=function)
        async with sender_to(gateway.handle, token=lambda: next(tokens)) as sender:
            await sender.invoke("worker", {"op": "noop"}, seconds=20)
        return gateway

    assert asyncio.run(test()).tokens == ["old", TOKEN]


def test_instances_are_started_before_the_calls_and_in_vain_where_there_are_none() -> None:
    async def test() -> list[str]:
        knocked: list[str] = []
        all_here = asyncio.Event()

        async def healthz(request: web.Request) -> web.Response:
            knocked.append(request.path)
            if len(knocked) == 3:
                all_here.set()
            return web.Response()

        async with serve(Gateway().handle, healthz=healthz) as url:
            urls: dict[Any, str] = {"worker": url, "merger": "http://127.0.0.1:1/invoke"}
            sender = KnativeSender(urls, lambda: TOKEN, instances={"worker": 3, "merger": 1})
            sender.start({"worker": 3, "merger": 1})
            await all_here.wait()
            await sender.close()
        return knocked

    assert asyncio.run(test()) == ["/healthz"] * 3


def test_an_instance_is_started_also_where_the_gateway_does_not_know_the_way_at_first() -> None:
    async def test() -> list[int]:
        answers = [404, 503, 200]
        given: list[int] = []
        done = asyncio.Event()

        async def healthz(request: web.Request) -> web.Response:
            given.append(answers[len(given)])
            if len(given) == len(answers):
                done.set()
            return web.Response(status=given[-1])

        async with serve(Gateway().handle, healthz=healthz) as url:
            sender = KnativeSender({"merger": url}, lambda: TOKEN, instances={"merger": 1})
            sender.start({"merger": 1})
            await done.wait()
            await sender.close()
        return given

    assert asyncio.run(test()) == [404, 503, 200]


def test_a_closed_sender_says_so() -> None:
    async def test() -> None:
        sender = KnativeSender({"worker": "http://127.0.0.1:1/invoke"}, lambda: "", instances={"worker": 1})
        await sender.close()
        await sender.invoke("worker", {"op": "noop"}, seconds=1)

    with pytest.raises(InvocationError, match="closed"):
        asyncio.run(test())


REVISION = "digits-worker-00001"
DOMAIN = "team.svc.cluster.local"


class Ways(Gateway):
    """A gateway, and the activator at the Revision's own name; the first answers of the activator are as told."""

    def __init__(self, *straight: int | str, function: FunctionProcess) -> None:
        super().__init__(function=function)
        self.straight = list(straight)
        self.hosts: list[str] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        host = request.host.partition(".")[0]
        self.hosts.append(host)
        if host == REVISION and self.straight:
            self.answers.append(self.straight.pop(0))
        return await super().handle(request)


async def replies_of(ways: Ways, calls: int) -> list[Reply]:
    """What calls one after another come to, where names of the cluster lead to `ways`."""
    async with serve(ways.handle) as url:
        port = int(url.rpartition(":")[2].partition("/")[0])
        sender = KnativeSender(
            {"worker": f"http://digits-worker.{DOMAIN}:{port}/invoke"}, lambda: TOKEN, instances={"worker": 1}
        )
        try:
            return [await sender.invoke("worker", {"op": "noop"}, seconds=20) for _ in range(calls)]
        finally:
            await sender.close()


@pytest.fixture
def cluster_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of the cluster lead to this machine."""
    found = socket.getaddrinfo

    def here(host: Any, *args: Any, **options: Any) -> Any:
        return found("127.0.0.1" if str(host).endswith(DOMAIN) else host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", here)


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A function that Knative has started."""
    with FunctionProcess(tmp_path_factory.mktemp("store"), K_REVISION=REVISION) as function:
        yield function


@pytest.mark.usefixtures("cluster_names")
def test_calls_after_the_first_go_past_the_gateway(instance: FunctionProcess) -> None:
    ways = Ways(function=instance)
    replies = asyncio.run(replies_of(ways, 4))
    assert [reply.body["pid"] for reply in replies] == [instance.process.pid] * 4
    assert ways.hosts == ["digits-worker", *[REVISION] * 3]


@pytest.mark.usefixtures("cluster_names")
@pytest.mark.parametrize("obstacle", [403, "hang up", 503])
def test_a_call_that_does_not_get_past_the_gateway_goes_through_it(
    instance: FunctionProcess, obstacle: int | str
) -> None:
    ways = Ways(*[obstacle] * FAILURES, function=instance)
    replies = asyncio.run(replies_of(ways, FAILURES + 2))
    assert len(replies) == FAILURES + 2
    # A Revision without an instance is no obstacle on the way.
    last = REVISION if obstacle == 503 else "digits-worker"
    assert ways.hosts == ["digits-worker", *[REVISION, "digits-worker"] * FAILURES, last]


@pytest.mark.usefixtures("cluster_names")
def test_an_error_of_a_function_is_the_drivers_also_past_the_gateway(instance: FunctionProcess) -> None:
    ways = Ways(function=instance)

    async def run() -> None:
        async with serve(ways.handle) as url:
            port = int(url.rpartition(":")[2].partition("/")[0])
            address = f"http://digits-worker.{DOMAIN}:{port}/invoke"
            sender = KnativeSender({"worker": address}, lambda: TOKEN, instances={"worker": 1})
            try:
                await sender.invoke("worker", {"op": "noop"}, seconds=20)
                with pytest.raises(InvocationError):
                    await sender.invoke("worker", {"op": "nonsense"}, seconds=20)
                await sender.invoke("worker", {"op": "noop"}, seconds=20)
            finally:
                await sender.close()

    asyncio.run(run())
    assert ways.hosts == ["digits-worker", REVISION, REVISION]
