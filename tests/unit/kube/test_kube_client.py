"""The client of API servers, against a server that answers as the test says."""

import asyncio
import gc
import json
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from helpers.certificates import self_signed

from sapflow.kube.access import Access, AccessSource, ServiceAccount, server_url
from sapflow.kube.blocking import BlockingApiClient
from sapflow.kube.client import ApiClient, Patience
from sapflow.kube.errors import ClusterError, ClusterUnavailable
from sapflow.kube.paths import Kind

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
PODS = Kind("v1", "pods").path("team")
AT_ONCE = Patience(tries=3, pause=0.0)


@asynccontextmanager
async def served(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def run(answer: Answer, work: Callable[[ApiClient], Coroutine[Any, Any, Any]]) -> Any:
    """Do `work` with a client of a server that answers by `answer`."""

    async def scenario() -> Any:
        async with served(answer) as url:
            client = ApiClient(Access(url), AT_ONCE)
            try:
                return await work(client)
            finally:
                await client.close()

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (Kind("v1", "nodes").path(None, "one"), "/api/v1/nodes/one"),
        (Kind("v1", "pods").path("team", "a", "log"), "/api/v1/namespaces/team/pods/a/log"),
        (Kind("batch/v1", "jobs").path("team"), "/apis/batch/v1/namespaces/team/jobs"),
        (Kind("batch/v1", "jobs").path(None), "/apis/batch/v1/jobs"),
    ],
)
def test_a_path_names_group_namespace_object_and_part(kind: str, path: str) -> None:
    assert kind == path


def test_managed_fields_are_left_out_wherever_they_stand() -> None:
    found = {"metadata": {"name": "a", "managedFields": [1]}, "items": [{"metadata": {"managedFields": [2]}}]}

    async def answer(request: web.Request) -> web.Response:
        return web.json_response(found)

    assert run(answer, lambda client: client.read(PODS)) == {
        "metadata": {"name": "a"},
        "items": [{"metadata": {}}],
    }


def test_only_what_may_be_mended_is_tried_again_and_each_failure_is_heard_of() -> None:
    statuses = [503, 403, 200]
    heard: list[tuple[str, int]] = []

    async def answer(request: web.Request) -> web.Response:
        status = statuses.pop(0)
        return web.json_response({"message": f"said {status}"}, status=status)

    async def scenario() -> None:
        async with served(answer) as url:
            client = ApiClient(Access(url), AT_ONCE, failed=lambda *failure: heard.append(failure))
            with pytest.raises(ClusterError, match=f"GET {PODS} was refused: 403: said 403") as caught:
                await client.read(PODS)
            assert not isinstance(caught.value, ClusterUnavailable)
            assert json.loads(caught.value.body) == {"message": "said 403"}
            await client.close()

    asyncio.run(scenario())
    assert (heard, statuses) == ([("GET", 503), ("GET", 403)], [200])


@pytest.mark.parametrize(("status", "retryable"), [(400, False), (422, False), (403, True), (409, True)])
def test_a_refusal_of_the_object_itself_is_not_to_be_tried_again(status: int, retryable: bool) -> None:
    assert ClusterError("no", status).retryable is retryable


def test_an_answer_in_plain_words_is_told_as_it_is() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=404, text="404 page not found\n")

    with pytest.raises(ClusterError, match=r"404: 404 page not found$"):
        run(answer, lambda client: client.read(PODS))


def test_an_answer_that_is_no_object_is_an_error_at_once() -> None:
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request)
        return web.Response(text="<html>a proxy's page", content_type="text/html")

    with pytest.raises(
        ClusterError, match=r"no JSON object.*a proxy's page.*is an API server at that address"
    ):
        run(answer, lambda client: client.read(PODS))
    assert len(asked) == 1


def test_an_answer_that_does_not_come_in_time_is_a_server_that_does_not_answer() -> None:
    async def answer(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def scenario() -> None:
        async with served(answer) as url:
            client = ApiClient(Access(url), Patience(seconds=0.05, tries=2, pause=0.0))
            with pytest.raises(ClusterUnavailable, match="does not answer: TimeoutError") as caught:
                await client.read(PODS)
            assert caught.value.status == 0
            await client.close()

    asyncio.run(scenario())


def test_a_redirection_is_not_followed_with_the_token() -> None:
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        raise web.HTTPFound("/elsewhere")

    with pytest.raises(ClusterError, match="302"):
        run(answer, lambda client: client.read(PODS))
    assert asked == [PODS]


def test_a_deletion_says_of_which_object_and_how() -> None:
    bodies = []

    async def answer(request: web.Request) -> web.Response:
        bodies.append(await request.json())
        return web.json_response({})

    async def work(client: ApiClient) -> None:
        await client.delete(f"{PODS}/a")
        await client.delete(f"{PODS}/a", "an-uid", at_once=True)

    run(answer, work)
    assert bodies == [
        {"propagationPolicy": "Background"},
        {"propagationPolicy": "Background", "gracePeriodSeconds": 0, "preconditions": {"uid": "an-uid"}},
    ]


def test_changes_begin_with_all_pages_of_the_list_and_go_on_from_its_version() -> None:
    watched = []

    async def answer(request: web.Request) -> web.Response:
        if "watch" in request.query:
            watched.append(dict(request.query))
            if len(watched) > 1:
                return web.json_response({"message": "no"}, status=403)
            event = {"type": "ADDED", "object": {"metadata": {"name": "c", "resourceVersion": "8"}}}
            return web.Response(text=json.dumps(event) + "\n")
        last = "continue" in request.query
        metadata = {"resourceVersion": "7"} | ({} if last else {"continue": "more"})
        return web.json_response(
            {"metadata": metadata, "items": [{"metadata": {"name": "b" if last else "a"}}]}
        )

    heard: list[tuple[str, list[str]]] = []

    async def work(client: ApiClient) -> None:
        async for changes in client.changes(PODS, {"labelSelector": "a=b"}):
            heard.extend((what, [each["metadata"]["name"] for each in found]) for what, found in changes)

    with pytest.raises(ClusterError, match="403"):
        run(answer, work)
    assert heard == [("LISTED", ["a", "b"]), ("ADDED", ["c"])]
    assert [each["resourceVersion"] for each in watched] == ["7", "8"]
    assert {each["labelSelector"] for each in watched} == {"a=b"}


def test_a_line_that_comes_in_pieces_is_one_line_and_the_last_needs_no_end() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for part in (b"on", b"e\ntw", "o ü".encode()[:-1], "o ü".encode()[-1:], b"\nthree"):
            await response.write(part)
        return response

    async def work(client: ApiClient) -> list[str]:
        return [line async for batch in client.lines(PODS) for line in batch]

    assert run(answer, work) == ["one", "two ü", "three"]


# Who asks


def account(folder: Path, token: str, certificate: str = "") -> Path:
    """A service account's folder, or what it is renewed to: files that are swapped at once."""
    folder.mkdir(exist_ok=True)
    for name, text in (("ca.crt", certificate), ("token", token)):
        (folder / f"{name}.new").write_text(text)
        (folder / f"{name}.new").rename(folder / name)
    return folder


def test_a_token_that_was_renewed_is_sent_once_the_old_one_is_refused(tmp_path: Path) -> None:
    seen = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers["Authorization"])
        accepted = seen[-1] == "Bearer second"
        account(tmp_path / "account", "second")
        return web.json_response({}, status=200 if accepted else 401)

    async def scenario() -> None:
        async with served(answer) as url:
            source = ServiceAccount(url, account(tmp_path / "account", "first\n"))
            client = ApiClient(source, Patience(tries=2, pause=0.0, again=frozenset({401})))
            await client.read(PODS)
            await client.close()

    asyncio.run(scenario())
    assert seen == ["Bearer first", "Bearer second"]


def test_a_pod_trusts_the_certificate_of_its_account_and_the_one_that_replaces_it(tmp_path: Path) -> None:
    first, second = (self_signed(tmp_path, name) for name in ("first", "second"))

    def tls(certificate: Path) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        return context

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({})

    async def scenario() -> None:
        async with served(answer, tls(second)) as url:
            source = ServiceAccount(url, account(tmp_path / "account", "t", first.read_text()))
            client = ApiClient(source, Patience(tries=1))
            with pytest.raises(ClusterUnavailable, match="certificate"):
                await client.read(PODS)
            account(tmp_path / "account", "t", second.read_text())
            source.refused()
            assert await client.read(PODS) == {}
            await client.close()

    asyncio.run(scenario())


def test_a_pod_is_known_by_its_variables_and_its_token(tmp_path: Path) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    folder = account(tmp_path / "account", "t")
    found = ServiceAccount.in_pod(environ, folder)
    assert found is not None
    assert found.server == "https://[fd00::1]:6443"
    assert ServiceAccount.in_pod({}, folder) is None
    assert ServiceAccount.in_pod(environ, tmp_path) is None
    assert server_url("10.0.0.1", 443) == "https://10.0.0.1:443"


# Without an event loop


@contextmanager
def blocking(answer: Answer) -> Iterator[BlockingApiClient]:
    """A blocking client of a server in a thread of its own."""
    ready, over = threading.Event(), asyncio.Event()
    known: list[Any] = []

    async def serve() -> None:
        async with served(answer) as url:
            known.extend((url, asyncio.get_running_loop()))
            ready.set()
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait()
    source: AccessSource = Access(known[0])
    client = BlockingApiClient(ApiClient(source, AT_ONCE))
    try:
        yield client
    finally:
        client.close()
        known[1].call_soon_threadsafe(over.set)
        thread.join()


async def endless(request: web.Request) -> web.StreamResponse:
    """Two lines, then nothing more."""
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"one\ntwo\n")
    await asyncio.Event().wait()
    return response


def test_calls_block_and_raise_what_the_request_raised() -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path.endswith("absent"):
            return web.json_response({"message": "no"}, status=404)
        return web.json_response({"metadata": {}, "items": [{"a": 1}]})

    with blocking(answer) as client:
        assert client.objects(PODS) == [{"a": 1}]
        with pytest.raises(ClusterError, match="404: no"):
            client.read(f"{PODS}/absent")


def test_lines_come_one_by_one_and_a_reader_that_stops_ends_the_request() -> None:
    ended = threading.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await endless(request)
        finally:
            ended.set()

    with blocking(answer) as client:
        lines = client.lines(PODS, follow=True)
        assert [next(lines), next(lines)] == ["one", "two"]
        del lines
        gc.collect()
        assert ended.wait(20)


def test_closing_ends_the_calls_of_other_threads_and_refuses_further_ones() -> None:
    with blocking(endless) as client:
        heard: list[str] = []
        reading = threading.Event()

        def read() -> None:
            try:
                for line in client.lines(PODS, follow=True):
                    heard.append(line)
                    reading.set()
            except ClusterUnavailable as error:
                heard.append(str(error))

        thread = threading.Thread(target=read)
        thread.start()
        assert reading.wait(20)
        client.close()
        thread.join(20)
        with pytest.raises(ClusterUnavailable, match="closed"):
            client.read(PODS)
    assert heard == ["one", "two", "the client of the API server was closed"]


def test_a_client_that_nobody_holds_any_more_leaves_no_thread_behind() -> None:
    before = set(threading.enumerate())
    client = BlockingApiClient(ApiClient(Access("http://127.0.0.1:1"), Patience(tries=1)))
    (thread,) = set(threading.enumerate()) - before
    with pytest.raises(ClusterUnavailable):
        client.read(PODS)
    del client
    gc.collect()
    thread.join(20)
    assert not thread.is_alive()
