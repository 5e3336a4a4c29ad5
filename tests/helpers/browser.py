"""A real browser for tests: headless Chromium, spoken to by its DevTools protocol."""

import asyncio
import base64
import contextlib
import itertools
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

HOW_TO_FIX = "no chromium was found: apt-get install --no-install-recommends chromium"
_SECONDS = 60.0


def require_browser() -> str:
    """The browser's path. Skips where there is none, and fails instead where SAPFLOW_REQUIRE_BROWSER is 1."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        if os.environ.get("SAPFLOW_REQUIRE_BROWSER") == "1":
            pytest.fail(HOW_TO_FIX)
        pytest.skip(HOW_TO_FIX)
    return found


class Page:
    """One tab. `requests` are the addresses that it asked for, `complaints` what it wrote to its console."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.requests: list[str] = []
        self.complaints: list[str] = []

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command's result; events that come before it are kept."""
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            message = await self._socket.receive_json(timeout=_SECONDS)
            if message.get("id") == number:
                assert "error" not in message, message["error"]
                return dict(message["result"])
            self._hear(message)

    async def open(self, path: Path) -> None:
        """Load a file, and wait until it is loaded."""
        for domain in ("Page", "Network", "Log", "Runtime"):
            await self.send(f"{domain}.enable")
        await self.send("Page.navigate", url=path.resolve().as_uri())
        while await self.evaluate("document.readyState") != "complete":
            await asyncio.sleep(0.05)

    async def look(self, *, width: int, dark: bool) -> None:
        """Show the page in a window of that width, in the reader's light or dark scheme."""
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.send("Emulation.setEmulatedMedia", features=[scheme])

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript."""
        done = await self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    async def picture(self, path: Path) -> None:
        """The whole page as a PNG."""
        taken = await self.send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(taken["data"]))

    def _hear(self, message: dict[str, Any]) -> None:
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
            case "Log.entryAdded":
                entry = message["params"]["entry"]
                # Drawing without a graphics card is slow, which Chromium says.
                if (entry["source"], entry["level"]) != ("rendering", "warning"):
                    self.complaints.append(entry["text"])
            case "Runtime.exceptionThrown":
                self.complaints.append(str(message["params"]["exceptionDetails"]))


@contextlib.asynccontextmanager
async def browser(profile: Path) -> AsyncIterator[Page]:
    """A browser with one empty tab, ended afterwards; `profile` is an empty folder for it."""
    process = await asyncio.create_subprocess_exec(
        require_browser(),
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-unsafe-swiftshader",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_SECONDS):
            port = await _port(profile / "DevToolsActivePort", process)
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                    tabs = [each for each in await answer.json() if each["type"] == "page"]
                address = tabs[0]["webSocketDebuggerUrl"]
                async with session.ws_connect(address, max_msg_size=0) as socket:
                    yield Page(socket)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _port(file: Path, process: asyncio.subprocess.Process) -> str:
    while True:
        assert process.returncode is None, f"the browser ended with {process.returncode}"
        lines = file.read_text().splitlines() if file.exists() else []
        if len(lines) >= 2:
            return lines[0]
        await asyncio.sleep(0.05)
