"""An API server of one kind, in memory, over real HTTP: lists, gets, merge patches, deletions held by finalizers."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from helpers.quiet_server import QuietServer

Object = dict[str, Any]


class ApiServer:
    """`objects` by path. `changed` hears of each request that changes something, before it is done."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.changed: Callable[[str, str], None] = lambda method, path: None
        self.url = ""
        self._version = 1

    def put(self, path: str, **metadata: Any) -> Object:
        """Place an object; its namespace is the path's."""
        parts = path.split("/")
        namespace = parts[parts.index("namespaces") + 1] if "namespaces" in parts else None
        found = {"metadata": {"name": parts[-1], "namespace": namespace, **metadata}}
        self.objects[path] = found
        self._touch(found)
        return found

    def _touch(self, found: Object) -> None:
        self._version += 1
        found["metadata"]["resourceVersion"] = str(self._version)

    def answer(self, method: str, path: str, body: Object | None) -> tuple[int, Object]:
        if method != "GET":
            self.changed(method, path)
        if method == "GET" and path not in self.objects:
            return self._list(path)
        found = self.objects.get(path)
        if found is None:
            return 404, {"message": f"{path} was not found"}
        metadata = found["metadata"]
        if method == "DELETE":
            metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        elif method == "PATCH" and body is not None:
            change = body.get("metadata", {})
            if change.get("resourceVersion", metadata["resourceVersion"]) != metadata["resourceVersion"]:
                return 409, {"message": "the object has been modified"}
            metadata |= change
            found |= {name: value for name, value in body.items() if name != "metadata"}
        if method != "GET":
            self._touch(found)
        if "deletionTimestamp" in metadata and not metadata.get("finalizers"):
            self.objects.pop(path, None)
        return 200, found

    def _list(self, path: str) -> tuple[int, Object]:
        last = path.rpartition("/")[2]
        if last not in ("trainingjobs", "pods"):
            return 404, {"message": f"{path} was not found"}
        head = path.rpartition(f"/{last}")[0]
        items = [each for key, each in self.objects.items() if f"/{last}/" in key and key.startswith(head)]
        return 200, {"items": items}


@contextmanager
def api_server() -> Iterator[ApiServer]:
    """A server of its own, on a free port."""
    served = ApiServer()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            with lock:
                status, found = served.answer(self.command, urlsplit(self.path).path, body)
            content = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PATCH = do_DELETE = _handle

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = QuietServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
