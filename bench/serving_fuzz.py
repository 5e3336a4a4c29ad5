"""Requests made at random from a served model's OpenAPI document, until so many are answered: how many with a 500.

python -m bench.serving_fuzz [REQUESTS]: 100,000 by default. Needs schemathesis.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import schemathesis
from hypothesis import HealthCheck, given, settings

from bench.serving import write_model
from sapflow.serving.app import App
from sapflow.serving.served_model import decode
from sapflow.serving.server import Identity, Server
from sapflow.spec.serving.decision import DecisionSpec

REQUESTS = 100_000


def main() -> int:
    """Print the statuses; 1 if any is 500 or more."""
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else REQUESTS
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        write_model(path, np.random.default_rng(0))
        decision = DecisionSpec(answer="Probabilities", message="{label}")
        model = decode(memoryview(path.read_bytes()), "the model", None, decision)
    server = Server(model, Identity("bench", "1"))
    server.metrics.ready = True
    app = App(server)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    found: list[Any] = list(schema.get_all_operations())
    operations = [each.ok() for each in found]
    statuses: Counter[int] = Counter()
    began = time.perf_counter()
    for operation in operations:
        body = operation.method.lower() == "post"
        # Those with bodies are the ones that can go wrong.
        share = wanted // (sum(each.method.lower() == "post" for each in operations)) if body else 100

        @settings(max_examples=share, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            status = asyncio.run(_asked(app, case))
            statuses[status] += 1
            assert status < 500, case.as_curl_command()

        ask()
    seconds = time.perf_counter() - began
    print(f"{statuses.total():,} requests in {seconds:.0f} s: {json.dumps(dict(sorted(statuses.items())))}")
    return int(any(status >= 500 for status in statuses))


async def _asked(app: App, case: Any) -> int:
    """The status of a request, asked of the application itself: a server before it would refuse some on its own."""
    found = case.as_transport_kwargs(base_url="http://bench")
    content: Any = found.get("content") or found.get("data") or b""
    if found.get("json") is not None:
        content = json.dumps(found["json"])
    body = content if isinstance(content, bytes) else str(content).encode("utf-8", "surrogatepass")
    headers = {str(name).lower(): str(each) for name, each in dict(found.get("headers") or {}).items()}
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": case.method.upper(),
        "path": case.formatted_path,
        "headers": [
            (name.encode("latin-1", "replace"), each.encode("latin-1", "replace"))
            for name, each in headers.items()
        ],
    }
    await app(scope, receive, send)
    status: int = sent[0]["status"]
    return status


def _latin(text: str) -> bytes:
    return text.encode("latin-1", "replace")


if __name__ == "__main__":
    sys.exit(main())
