"""Requests made at random from a served model's OpenAPI document, until so many are answered: how many with a 500.

python -m bench.serving_fuzz [REQUESTS] [SECONDS]: 100,000 by default, for as long as it takes. Needs schemathesis.

Making a case takes schemathesis a hundred times as long as answering it takes the application. So each case is asked as
it is, and then MUTANTS times with its body, its content type or its path damaged; so is a request that is right.
"""

import asyncio
import json
import math
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers.served import late_files, plain_files

from sapflow.serving.app import App
from sapflow.serving.input_table import FEATURES
from sapflow.serving.openapi import example
from sapflow.serving.server import Identity, Server

REQUESTS = 100_000
MUTANTS = 9
JSON = {"content-type": "application/json"}
TYPES = ("application/json", "text/csv", "application/octet-stream", "text/plain; charset=utf-16", "")
VALUES = (
    "null", "true", "[]", "{}", "[[]]", "-1", "1e999", "NaN", "-Infinity", "0.1", "18446744073709551616", "9" * 400,
    '""', '"\\ud800"', '"a\\u0000b"', '"BYTES"', '"FP64"', '"UINT8"', "[1,[2]]", '{"rows":[{}]}', '{"data":[]}',
)  # fmt: skip


def main() -> int:
    """Print the statuses; 1 if any is 500 or more."""
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else REQUESTS
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else math.inf
    statuses: Counter[int] = Counter()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        kinds = (plain_files(), late_files(Path(folder)))
    for number, files in enumerate(kinds):
        server = Server(
            files.served({"answer": "Probabilities", "message": "{label}"}), Identity("bench", "1")
        )
        server.metrics.ready = True
        until = began + seconds * (number + 1) / len(kinds)
        for label, status, asked in _answers(server, wanted // len(kinds), until):
            statuses[status] += 1
            if status >= 500:
                print(f"{label}: {status}: {asked}", flush=True)
            if statuses.total() % 1000 == 0:
                said = json.dumps(dict(sorted(statuses.items())))
                print(f"{label}: {statuses.total():,} requests so far: {said}", flush=True)
    print(
        f"{statuses.total():,} requests in {time.perf_counter() - began:.0f} s: {dict(sorted(statuses.items()))}"
    )
    return int(any(status >= 500 for status in statuses))


def _answers(server: Server, wanted: int, until: float) -> Iterator[tuple[str, int, "Asked"]]:
    """So many requests for a model, or those until a time: the operation of each, its status, and itself."""
    app, loop = App(server), asyncio.new_event_loop()
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    found: list[Any] = list(schema.get_all_operations())
    operations = [each.ok() for each in found]
    posts = [each for each in operations if each.method.lower() == "post"]
    # Those with bodies are the ones that can go wrong.
    shares = [
        (each, max(1, wanted // len(posts) // (1 + 2 * MUTANTS)) if each in posts else 20)
        for each in operations
    ]
    right = {"predict": example(server), "infer": {"inputs": _tensors(server)}}
    for number, (operation, share) in enumerate(shares):
        left = until - time.perf_counter()
        stop = time.perf_counter() + left * share / sum(each for _, each in shares[number:])
        body = right.get(operation.path.rpartition("/")[2])
        known = None if body is None else Asked("POST", operation.path, JSON, json.dumps(body).encode())
        for asked in _cases(operation, share, stop, known, random.Random(number)):
            yield operation.label, loop.run_until_complete(_status(app, asked)), asked
    loop.close()


def _tensors(server: Server) -> list[dict[str, Any]]:
    """The example row of a model as tensors."""
    (row,) = example(server)["rows"]
    values = row if isinstance(row, dict) else {FEATURES: row}
    return [
        {
            "name": name,
            "shape": [1, len(value)] if isinstance(value, list) else [1],
            "datatype": "BYTES" if isinstance(value, str) else "FP64",
            "data": value if isinstance(value, list) else [value],
        }
        for name, value in values.items()
    ]


def _cases(
    operation: Any, share: int, until: float, right: "Asked | None", draw: random.Random
) -> Iterator["Asked"]:
    """At most `share` cases of an operation, made until a time, each with what is made of it and of a right request."""
    made: list[Asked] = []

    @settings(
        max_examples=share,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(case=operation.as_strategy())
    def make(case: Any) -> None:
        if time.perf_counter() < until:
            made.append(Asked.of(case))

    make()
    for each in made:
        yield each
        for asked in (each, right):
            if asked is not None:
                yield from (asked.damaged(draw) for _ in range(MUTANTS))


@dataclass(frozen=True)
class Asked:
    """A request."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @classmethod
    def of(cls, case: Any) -> "Asked":
        """The request of a case."""
        found = case.as_transport_kwargs(base_url="http://bench")
        content: Any = found.get("content") or found.get("data") or b""
        if found.get("json") is not None:
            content = json.dumps(found["json"])
        body = content if isinstance(content, bytes) else str(content).encode("utf-8", "surrogatepass")
        headers = {str(name).lower(): str(each) for name, each in dict(found.get("headers") or {}).items()}
        return cls(case.method.upper(), case.formatted_path, headers, body)

    def damaged(self, draw: random.Random) -> "Asked":
        """The request with something of it changed."""
        match draw.randrange(8):
            case 0:
                return replace(self, headers={**self.headers, "content-type": draw.choice(TYPES)})
            case 1:
                size = str(draw.choice((-1, 0, 1, 2, 7, len(self.body), 2**63, "x")))
                return replace(self, headers={**self.headers, "inference-header-content-length": size})
            case 2:
                return replace(
                    self, path=self.path + draw.choice(("/", "//", "/infer", "%00", "/versions/9"))
                )
            case 3:
                return replace(self, body=self.body[: draw.randrange(len(self.body) + 1)])
            case 4:
                at = draw.randrange(len(self.body) + 1)
                return replace(
                    self, body=self.body[:at] + draw.randbytes(draw.randint(1, 4)) + self.body[at + 1 :]
                )
            case _:
                return replace(self, body=_with_another_value(self.body, draw))


def _with_another_value(body: bytes, draw: random.Random) -> bytes:
    """JSON with one of its values, at any depth, in place of which there is another."""
    text = body.decode("utf-8", "replace")
    places = [found.span() for found in re.finditer(r'"[^"]*"|-?[0-9.]+|true|false|null|\[\]|\{\}', text)]
    first, last = draw.choice(places) if places else (0, len(text))
    return (text[:first] + draw.choice(VALUES) + text[last:]).encode("utf-8", "surrogatepass")


async def _status(app: App, asked: Asked) -> int:
    """The status of a request, asked of the application itself: a server before it would refuse some on its own."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": asked.body}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [
        (name.encode("latin-1", "replace"), each.encode("latin-1", "replace"))
        for name, each in asked.headers.items()
    ]
    await app({"type": "http", "method": asked.method, "path": asked.path, "headers": headers}, receive, send)
    status: int = sent[0]["status"]
    return status


if __name__ == "__main__":
    sys.exit(main())
