"""A small OpenWhisk for tests: its REST API, with real function processes as containers, and its ways to go wrong.

It behaves as OpenWhisk 2.0.0 was seen to do with containers in Kubernetes: limits are told and enforced, nothing is
cancelled, a process that dies idle comes back without `/init`, a pod that vanished holds the call that is sent to it,
a container is busy until its log is collected, and a failed container is discarded.
"""

import asyncio
import base64
import itertools
import math
import os
import secrets
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
from aiohttp import web

AUTH = "a-user:a-password"
UNAVAILABLE = 503
"""Status of a container after which OpenWhisk sends the activation to another, or loses it if it was the first."""
STATUSES = ("success", "application error", "action developer error", "whisk internal error")
EXITED = "The action did not produce a valid response and exited unexpectedly."
TIMED_OUT = "The action exceeded its time limits of {} milliseconds."
NO_CONTAINER = "Failed to run container with image '{}'."
THRESHOLD = "The request content was malformed:\nrequirement failed: {} {} exceeds allowed threshold of {}"
LIMITS = {
    "maxActionTimeout": 300_000,
    "minActionTimeout": 100,
    "maxActionMemory": 512,
    "minActionMemory": 128,
    "maxActionLogs": 10,
    "minActionLogs": 0,
    "invocationsPerMinute": 60,
    "concurrentInvocations": 30,
}
COMMANDS = {
    "sapflow/worker": [sys.executable, "-m", "sapflow_functions.roles.worker"],
    "sapflow/merger": [sys.executable, "-m", "sapflow_functions.roles.merger"],
    "sapflow/test": [sys.executable, str(Path(__file__).parents[1] / "functions_for_tests.py"), "worker"],
}


class Container:
    """One function process, started as a container is: it knows the API host and nothing else."""

    def __init__(self, folder: Path, number: int, memory: int) -> None:
        self._folder, self._number, self._starts = folder, number, itertools.count()
        self.memory = memory
        self.vanished = False
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, command: list[str], api_host: str) -> None:
        self._command, self._api_host = command, api_host
        self._path = str(self._folder / f"c{self._number}.{next(self._starts)}")
        self._lifeline, theirs = socket.socketpair()
        self._lifeline.setblocking(False)
        with theirs:
            self.process = await asyncio.create_subprocess_exec(
                *command, "--uds", self._path, "--lifeline", str(theirs.fileno()),
                env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "__OW_API_HOST": api_host},
                pass_fds=[theirs.fileno()],
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        await asyncio.get_running_loop().sock_recv(self._lifeline, 64)

    async def revive(self) -> None:
        """Start the process again where it has died, as Kubernetes does; nobody sends it `/init` a second time."""
        if self.process is not None and self.process.returncode is not None:
            self._lifeline.close()
            await self.start(self._command, self._api_host)

    async def die(self) -> None:
        """Die while idle."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

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


class Failed(Exception):
    """An activation has no result: the code and the words of its response."""

    def __init__(self, code: int, result: dict[str, Any]) -> None:
        self.code, self.result = code, result


class Gateway:
    """Use as an async context manager; `url` is the API host."""

    def __init__(
        self,
        folder: Path,
        *,
        blocking_seconds: float = 60.0,
        limits: Mapping[str, int] | None = None,
        pool: int | None = None,
        hold_seconds: float = 0.0,
        log_seconds: float = 0.0,
    ) -> None:
        """`pool` is the memory for all containers in MiB. A vanished pod holds a call for `hold_seconds`, and to
        collect the log of an activation takes `log_seconds`."""
        self.blocking_seconds = blocking_seconds
        self.limits = LIMITS | dict(limits or {})
        self.actions: dict[str, Action] = {}
        self.made: list[dict[str, Any]] = []
        self.records: dict[str, dict[str, Any]] = {}
        self.throttled = 0
        """Activations to refuse before any is taken."""
        self.refused_deletions = 0
        """How many of the next DELETE requests fail."""
        self.polls = 0
        self.containers: list[Container] = []
        self.started = 0
        """Containers so far."""
        self.at_once, self.most_at_once = 0, 0
        self._minute: deque[float] = deque()
        self._folder, self._pool = folder, math.inf if pool is None else pool
        self._hold_seconds, self._log_seconds = hold_seconds, log_seconds
        self._tasks: set[asyncio.Task[Any]] = set()
        self._freed = asyncio.Event()
        self._port = 0

    async def __aenter__(self) -> "Gateway":
        app = web.Application(middlewares=[self._authorize], client_max_size=1 << 20)
        base = "/api/v1/namespaces/_"
        app.router.add_get(base + "/limits", self._get_limits)
        app.router.add_put(base + "/actions/{name}", self._put)
        app.router.add_delete(base + "/actions/{name}", self._delete)
        app.router.add_post(base + "/actions/{name}", self._post)
        app.router.add_get(base + "/activations/{id}", self._get)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await self.up()
        self.url = f"http://127.0.0.1:{self._port}"
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

    async def up(self) -> None:
        """Take connections (again)."""
        self._site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await self._site.start()
        self._port = self._runner.addresses[0][1]

    async def down(self) -> None:
        """Take no connections, and end those that are there."""
        await self._site.stop()
        assert self._runner.server is not None
        for connection in self._runner.server.connections:
            connection.force_close()
            if connection.transport is not None:
                connection.transport.abort()

    async def vanish(self) -> None:
        """All idle pods vanish, and the invoker does not know it."""
        for action in self.actions.values():
            for container in action.warm:
                container.vanished = True

    @web.middleware
    async def _authorize(self, request: web.Request, handler: Any) -> web.StreamResponse:
        expected = "Basic " + base64.b64encode(AUTH.encode()).decode()
        if request.headers.get("Authorization") != expected:
            return web.json_response({"error": "The supplied authentication is invalid."}, status=401)
        response: web.StreamResponse = await handler(request)
        return response

    async def _get_limits(self, request: web.Request) -> web.Response:
        return web.json_response(self.limits)

    async def _put(self, request: web.Request) -> web.Response:
        body = await request.json()
        name, asked = request.match_info["name"], body["limits"]
        if name in self.actions and request.query.get("overwrite") != "true":
            return web.json_response({"error": "resource already exists"}, status=409)
        longest, largest = self.limits["maxActionTimeout"], self.limits["maxActionMemory"]
        wrong = ""
        if asked["timeout"] > longest:
            wrong = THRESHOLD.format(
                "duration", f"{asked['timeout']} milliseconds", f"{longest} milliseconds"
            )
        elif asked["memory"] > largest:
            wrong = THRESHOLD.format("memory", f"{asked['memory']} MB", f"{largest} MB")
        if wrong:
            return web.json_response({"error": wrong, "code": "a-transaction"}, status=400)
        self.actions[name] = Action(body)
        self.made.append(body)
        return web.json_response(body)

    async def _delete(self, request: web.Request) -> web.Response:
        if self.refused_deletions:
            self.refused_deletions -= 1
            return web.json_response({"error": "Concurrent modification to resource detected."}, status=409)
        action = self.actions.pop(request.match_info["name"], None)
        return web.json_response({}, status=404 if action is None else 200)

    async def _post(self, request: web.Request) -> web.Response:
        action = self.actions.get(request.match_info["name"])
        if action is None:
            return web.json_response({"error": "The requested resource does not exist."}, status=404)
        if refusal := self._refusal():
            return web.json_response({"error": refusal}, status=429)
        ident = secrets.token_hex(16)
        # Nothing of this ends where the caller hangs up.
        task = asyncio.create_task(self._counted(ident, action, await request.json()))
        self._keep(task)
        done, _ = await asyncio.wait({task}, timeout=self.blocking_seconds)
        if not done:
            return web.json_response({"activationId": ident}, status=202)
        record = task.result()
        status = {"success": 200, "whisk internal error": 500}.get(record["response"]["status"], 502)
        whole = request.query.get("result") != "true"
        return web.json_response(record if whole else record["response"]["result"], status=status)

    def _refusal(self) -> str:
        """Why an activation is not taken, '' if it is."""
        if self.throttled:
            self.throttled -= 1
            return "Too many concurrent requests in flight."
        allowed = self.limits["concurrentInvocations"]
        if self.at_once >= allowed:
            return f"Too many concurrent requests in flight (count: {self.at_once + 1}, allowed: {allowed})."
        now, allowed = time.monotonic(), self.limits["invocationsPerMinute"]
        while self._minute and self._minute[0] < now - 60:
            self._minute.popleft()
        if len(self._minute) >= allowed:
            return f"Too many requests in the last minute (count: {allowed + 1}, allowed: {allowed})."
        self._minute.append(now)
        return ""

    async def _get(self, request: web.Request) -> web.Response:
        self.polls += 1
        record = self.records.get(request.match_info["id"])
        if record is None:
            return web.json_response({"error": "The requested resource does not exist."}, status=404)
        return web.json_response(record)

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _counted(self, ident: str, action: Action, value: dict[str, Any]) -> dict[str, Any]:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self._activate(ident, action, value)
        finally:
            self.at_once -= 1

    async def _activate(self, ident: str, action: Action, value: dict[str, Any]) -> dict[str, Any]:
        asked = time.monotonic()
        start = 0.0
        container: Container | None = None
        began = asked
        limit = action.body["limits"]["timeout"] / 1000
        try:
            while True:
                container, warm = await self._container(action)
                began = time.monotonic()
                if not warm:
                    await self._initialize(action, container)
                    start = time.monotonic() - began
                code, result = await self._run(container, ident, value, limit)
                if code != UNAVAILABLE:
                    break
                if not warm:
                    await asyncio.Event().wait()  # OpenWhisk loses it
                await self._discard(container)
        except Failed as failed:
            code, result = failed.code, failed.result
        ended = time.monotonic()
        if container is not None:
            if code in (0, 1):
                self._keep(asyncio.create_task(self._release(action, container)))
            else:
                await self._discard(container)
        annotations = [{"key": "waitTime", "value": 5 + round(1000 * (began - asked))}]
        if start:
            annotations.append({"key": "initTime", "value": round(1000 * start)})
        record = {
            "activationId": ident,
            "duration": round(1000 * (ended - began)),
            "annotations": annotations,
            "response": {"status": STATUSES[code], "success": code == 0, "result": result},
        }
        self.records[ident] = record
        return record

    async def _release(self, action: Action, container: Container) -> None:
        """Let a container be free, once its log is collected."""
        if action.body["limits"].get("logs", 10):
            await asyncio.sleep(self._log_seconds)
        action.warm.append(container)
        self._freed.set()

    async def _discard(self, container: Container) -> None:
        self.containers.remove(container)
        await container.end()
        self._freed.set()

    async def _container(self, action: Action) -> tuple[Container, bool]:
        """A container for an activation, and whether it is warm."""
        while True:
            while action.warm:
                container = action.warm.pop()
                if not container.vanished:
                    return container, True
                await asyncio.sleep(self._hold_seconds)
                await self._discard(container)
            if await self._make_room(action.body["limits"]["memory"]):
                return await self._start(action), False
            self._freed.clear()
            await self._freed.wait()

    async def _make_room(self, memory: int) -> bool:
        """Whether a new container fits into the pool; idle ones of any action go for it."""
        while sum(each.memory for each in self.containers) + memory > self._pool:
            idle = next((action for action in self.actions.values() if action.warm), None)
            if idle is None:
                return False
            await self._discard(idle.warm.pop(0))
        return True

    async def _start(self, action: Action) -> Container:
        image = action.body["exec"]["image"]
        if image not in COMMANDS:
            raise Failed(3, {"error": NO_CONTAINER.format(image)})
        self.started += 1
        container = Container(self._folder, self.started, action.body["limits"]["memory"])
        self.containers.append(container)
        await container.start(COMMANDS[image], self.url)
        return container

    async def _initialize(self, action: Action, container: Container) -> None:
        env = {each["key"]: each["value"] for each in action.body["parameters"] if each.get("init")}
        value = {"name": action.body["name"], "main": "main", "code": "", "binary": False, "env": env}
        status, answer = await container.post("/init", {"value": value})
        if status != 200:
            raise Failed(2, {"error": answer["error"]})

    async def _run(
        self, container: Container, ident: str, value: dict[str, Any], limit: float
    ) -> tuple[int, dict[str, Any]]:
        """The code and result of an activation, as the invoker makes them from a container's answer."""
        await container.revive()
        context = {"activation_id": ident, "deadline": str(round(1000 * (time.time() + limit)))}
        try:
            async with asyncio.timeout(limit):
                status, result = await container.post("/run", {"value": value, **context})
        except TimeoutError:
            return 2, {"error": TIMED_OUT.format(round(1000 * limit))}
        except (aiohttp.ClientError, OSError):
            return 2, {"error": EXITED}
        if status == UNAVAILABLE:
            return UNAVAILABLE, {}
        if status == 200:
            return (1 if "error" in result else 0), result
        with suppress(TypeError, KeyError):
            return 2, {"error": result["error"]}
        return 2, {"error": EXITED}
