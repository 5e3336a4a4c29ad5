"""A small OpenWhisk for tests: its REST API for actions and activations, with real function processes as containers.

Of a container it knows what the action contract says: POST /init once, then POST /run, and what answers mean.
"""

import asyncio
import base64
import itertools
import os
import secrets
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
from aiohttp import web

AUTH = "a-user:a-password"
STATUSES = ("success", "application error", "action developer error", "whisk internal error")
EXITED = "The action did not produce a valid response and exited unexpectedly."
TIMED_OUT = "The action exceeded its time limits of {} milliseconds."
COMMANDS = {
    "sapflow/worker": [sys.executable, "-m", "sapflow_functions.roles.worker"],
    "sapflow/merger": [sys.executable, "-m", "sapflow_functions.roles.merger"],
    "sapflow/test": [sys.executable, str(Path(__file__).parents[1] / "functions_for_tests.py"), "worker"],
}


class Container:
    """One function process, started as a container is: it knows the API host and nothing else."""

    def __init__(self, folder: Path, number: int) -> None:
        self._path = str(folder / f"c{number}")
        self._lifeline, self._theirs = socket.socketpair()
        self._lifeline.setblocking(False)
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, command: list[str], api_host: str) -> None:
        with self._theirs:
            self.process = await asyncio.create_subprocess_exec(
                *command, "--uds", self._path, "--lifeline", str(self._theirs.fileno()),
                env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "__OW_API_HOST": api_host},
                pass_fds=[self._theirs.fileno()],
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        await asyncio.get_running_loop().sock_recv(self._lifeline, 64)

    async def post(self, path: str, body: Mapping[str, Any]) -> tuple[int, Any]:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(self._path)) as session,
            session.post(f"http://action{path}", json=body) as response,
        ):
            return response.status, await response.json()

    async def end(self) -> None:
        self._lifeline.close()
        if self.process is not None:
            await self.process.wait()


@dataclass
class Action:
    body: dict[str, Any]
    warm: list[Container] = field(default_factory=list)


class Gateway:
    """Use as an async context manager; `url` is the API host."""

    def __init__(self, folder: Path, *, blocking_seconds: float = 60.0) -> None:
        self.blocking_seconds = blocking_seconds
        self.actions: dict[str, Action] = {}
        self.made: list[dict[str, Any]] = []
        self.records: dict[str, dict[str, Any]] = {}
        self.throttled = 0
        """Activations to refuse before any is taken."""
        self.polls = itertools.count()
        self.containers: list[Container] = []
        self._folder = folder
        self._tasks: set[asyncio.Task[dict[str, Any]]] = set()

    async def __aenter__(self) -> "Gateway":
        app = web.Application(middlewares=[self._authorize], client_max_size=1 << 20)
        base = "/api/v1/namespaces/_"
        app.router.add_put(base + "/actions/{name}", self._put)
        app.router.add_delete(base + "/actions/{name}", self._delete)
        app.router.add_post(base + "/actions/{name}", self._post)
        app.router.add_get(base + "/activations/{id}", self._get)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for container in self.containers:
            await container.end()
        await self._runner.cleanup()

    @web.middleware
    async def _authorize(self, request: web.Request, handler: Any) -> web.StreamResponse:
        expected = "Basic " + base64.b64encode(AUTH.encode()).decode()
        if request.headers.get("Authorization") != expected:
            return web.json_response({"error": "The supplied authentication is invalid."}, status=401)
        response: web.StreamResponse = await handler(request)
        return response

    async def _put(self, request: web.Request) -> web.Response:
        body = await request.json()
        name = request.match_info["name"]
        if name in self.actions and request.query.get("overwrite") != "true":
            return web.json_response({"error": "resource already exists"}, status=409)
        if body["limits"]["timeout"] > 600_000:
            return web.json_response(
                {"error": "Timeout must be number of milliseconds up to 600000."}, status=400
            )
        self.actions[name] = Action(body)
        self.made.append(body)
        return web.json_response(body)

    async def _delete(self, request: web.Request) -> web.Response:
        action = self.actions.pop(request.match_info["name"], None)
        return web.json_response({}, status=404 if action is None else 200)

    async def _post(self, request: web.Request) -> web.Response:
        action = self.actions.get(request.match_info["name"])
        if action is None:
            return web.json_response({"error": "The requested resource does not exist."}, status=404)
        if self.throttled:
            self.throttled -= 1
            return web.json_response({"error": "Too many concurrent requests in flight."}, status=429)
        ident = secrets.token_hex(16)
        task = asyncio.create_task(self._activate(ident, action, await request.json()))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        done, _ = await asyncio.wait({task}, timeout=self.blocking_seconds)
        if not done:
            return web.json_response({"activationId": ident}, status=202)
        record = task.result()
        status = {0: 200, 3: 500}.get(record["response"]["statusCode"], 502)
        whole = request.query.get("result") != "true"
        return web.json_response(record if whole else record["response"]["result"], status=status)

    async def _get(self, request: web.Request) -> web.Response:
        next(self.polls)
        record = self.records.get(request.match_info["id"])
        if record is None:
            return web.json_response({"error": "The requested resource does not exist."}, status=404)
        return web.json_response(record)

    async def _activate(self, ident: str, action: Action, value: dict[str, Any]) -> dict[str, Any]:
        asked = time.monotonic()
        limit = action.body["limits"]["timeout"] / 1000
        start = 0.0
        container: Container | None = None
        try:
            async with asyncio.timeout(limit):
                if action.warm:
                    container = action.warm.pop()
                else:
                    container = await self._start(action)
                    start = time.monotonic() - asked
                code, result = await self._run(container, ident, value, limit)
        except TimeoutError:
            code, result = 2, {"error": TIMED_OUT.format(round(1000 * limit))}
        if container is not None:
            if code in (0, 1):
                action.warm.append(container)
            else:
                await container.end()
        annotations = [{"key": "waitTime", "value": 5}]
        if start:
            annotations.append({"key": "initTime", "value": round(1000 * start)})
        record = {
            "activationId": ident,
            "duration": round(1000 * (time.monotonic() - asked)),
            "annotations": annotations,
            "response": {
                "status": STATUSES[code],
                "statusCode": code,
                "success": code == 0,
                "result": result,
            },
        }
        self.records[ident] = record
        return record

    async def _start(self, action: Action) -> Container:
        container = Container(self._folder, len(self.containers))
        self.containers.append(container)
        await container.start(COMMANDS[action.body["exec"]["image"]], self.url)
        env = {each["key"]: each["value"] for each in action.body["parameters"] if each.get("init")}
        value = {"name": action.body["name"], "main": "main", "code": "", "binary": False, "env": env}
        status, answer = await container.post("/init", {"value": value})
        assert status == 200, answer
        return container

    async def _run(
        self, container: Container, ident: str, value: dict[str, Any], limit: float
    ) -> tuple[int, dict[str, Any]]:
        """The code and result of an activation, as the invoker makes them from a container's answer."""
        context = {"activation_id": ident, "deadline": str(round(1000 * (time.time() + limit)))}
        try:
            status, result = await container.post("/run", {"value": value, **context})
        except (aiohttp.ClientError, OSError):
            return 2, {"error": EXITED}
        if status == 200:
            return (1 if "error" in result else 0), result
        with suppress(TypeError, KeyError):
            return 2, {"error": result["error"]}
        return 2, {"error": EXITED}
