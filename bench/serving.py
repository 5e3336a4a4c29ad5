"""One network of 20 features and two hidden layers under our server, bare FastAPI, MLServer and LitServe, in one run.

The others are run by the Pythons that BENCH_FASTAPI, BENCH_MLSERVER and BENCH_LITSERVE name, each of a virtual
environment of its own (`pip install fastapi uvicorn httptools numpy`, `mlserver`, `litserve numpy`); one without a
Python is left out.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from bench.request_load import Load
from bench.result import Result, milliseconds
from sapflow.objects import safetensor

PEERS = Path(__file__).with_name("serving_peers")
FEATURES, HIDDEN, CLASSES = 20, (100, 100), 10
SECONDS = 5.0
GOAL_LATENCY, GOAL_THROUGHPUT, GOAL_RESIDENT = 1.0, 0.5, 90.0
START_SECONDS = 120.0


@dataclass
class Served:
    """A server and what was measured of it."""

    name: str
    command: Sequence[str]
    path: str
    body: bytes
    environ: Mapping[str, str] = field(default_factory=dict)
    start: float = 0.0
    resident: float = 0.0
    alone: Load | None = None
    many: Load | None = None


def measure(environ: Mapping[str, str], seconds: float = SECONDS) -> Iterator[Result]:
    """Latency at one connection, throughput at 64, seconds to the first answer, resident memory."""
    with tempfile.TemporaryDirectory(prefix="sapflow-bench-") as folder:
        servers = {each.name: each for each in _servers(Path(folder), environ)}
        for each in servers.values():
            _run(each, environ, seconds)
            print(_told(each), file=sys.stderr, flush=True)
    ours, plain = servers["sapflow"], servers.get("fastapi")
    assert ours.alone is not None
    if plain is not None and plain.alone is not None:
        more = 1000 * (ours.alone.percentile(50) - plain.alone.percentile(50))
        yield Result(
            "an answer, one connection: median above bare FastAPI's",
            milliseconds(ours.alone.percentile(50)),
            milliseconds(plain.alone.percentile(50)),
            more,
            GOAL_LATENCY,
            "ms",
        )
    open_protocol = servers["sapflow, open inference"]
    for name, ours_too in (("mlserver", open_protocol), ("litserve", ours), ("fastapi", ours)):
        other = servers.get(name)
        if other is not None and other.many is not None and ours_too.many is not None:
            yield Result(
                f"answers a second, 64 connections: {name}'s part of ours",
                f"{ours_too.many.per_second:.0f}/s, p99 {milliseconds(ours_too.many.percentile(99))}",
                f"{other.many.per_second:.0f}/s, p99 {milliseconds(other.many.percentile(99))}",
                other.many.per_second / ours_too.many.per_second,
                GOAL_THROUGHPUT,
            )
    yield Result(
        "resident memory of our server", f"{ours.resident:.0f} MiB", "—", ours.resident, GOAL_RESIDENT, "MiB"
    )


def _servers(folder: Path, environ: Mapping[str, str]) -> Iterator[Served]:
    random = np.random.default_rng(0)
    weights = _weights(random)
    np.savez(folder / "weights.npz", **weights)  # type: ignore[arg-type]
    _write(folder / "model.safetensors", weights)
    served = {"name": "bench", "version": "1", "key": "model.safetensors", "asksToken": False}
    (folder / "served.json").write_text(json.dumps(served))
    row = random.normal(size=FEATURES).round(3).tolist()
    rows = json.dumps({"rows": [row]}).encode()
    tensor = {"name": "features", "shape": [1, FEATURES], "datatype": "FP32", "data": row}
    tensors = json.dumps({"inputs": [tensor]}).encode()
    ours = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "sapflow_functions.roles.server",
        "--host",
        "127.0.0.1",
        "--port",
    ]
    told = {
        "SAPFLOW_SERVICE_FILE": str(folder / "served.json"),
        "SAPFLOW_STORE": str(folder),
        "SAPFLOW_LOG_LEVEL": "WARNING",
    }
    yield Served("sapflow", ours, "/predict", rows, told)
    yield Served("sapflow, open inference", ours, "/v2/models/bench/infer", tensors, told)
    if python := environ.get("BENCH_FASTAPI"):
        yield Served(
            "fastapi", [python, str(PEERS / "bare_fastapi.py"), str(folder / "weights.npz")], "/predict", rows
        )
    if python := environ.get("BENCH_LITSERVE"):
        yield Served(
            "litserve", [python, str(PEERS / "lit_server.py"), str(folder / "weights.npz")], "/predict", rows
        )
    if python := environ.get("BENCH_MLSERVER"):
        home = folder / "mlserver"
        home.mkdir()
        (home / "ml_server.py").write_text((PEERS / "ml_server.py").read_text())
        batching = {"max_batch_size": 64, "max_batch_time": 0.001}
        (home / "model-settings.json").write_text(
            json.dumps({"name": "bench", "implementation": "ml_server.Model", **batching})
        )
        yield Served(
            "mlserver",
            [str(Path(python).with_name("mlserver")), "start", str(home)],
            "/v2/models/bench/infer",
            tensors,
            {"BENCH_WEIGHTS": str(folder / "weights.npz"), "MLSERVER_PARALLEL_WORKERS": "0", "MLSERVER_DEBUG": "false",
             "PYTHONPATH": str(home)},
        )  # fmt: skip


def _weights(random: np.random.Generator) -> dict[str, np.ndarray]:
    """Of each layer `w` [outputs, inputs] and `b` [outputs], with its number."""
    widths = [FEATURES, *HIDDEN, CLASSES]
    return {
        f"{kind}{place}": random.normal(0, 0.1, shape).astype(np.float32)
        for place, (before, after) in enumerate(pairwise(widths))
        for kind, shape in (("w", (after, before)), ("b", (after,)))
    }


def write_model(path: Path, random: np.random.Generator) -> None:
    """The network with random weights, as a model's file."""
    _write(path, _weights(random))


def _write(path: Path, weights: Mapping[str, np.ndarray]) -> None:
    about = {
        "model": {"name": "mlp", "args": {"hidden": list(HIDDEN)}}, "inputs": [FEATURES], "outputs": CLASSES,
        "task": "classification", "classes": CLASSES, "scale": [1.0], "shift": [0.0],
    }  # fmt: skip
    arrays = {
        f"{2 * place}.{name}": weights[f"{kind}{place}"]
        for place in range(len(HIDDEN) + 1)
        for kind, name in (("w", "weight"), ("b", "bias"))
    }
    header = safetensor.encode_header(
        {name: (each.dtype, each.shape) for name, each in arrays.items()}, {"sapflow": json.dumps(about)}
    )
    path.write_bytes(b"".join([header, *(each.tobytes() for each in arrays.values())]))


def _run(served: Served, environ: Mapping[str, str], seconds: float) -> None:
    """Start the server, measure it, and end it with all of its processes."""
    port = _free_port()
    variables = {
        **{name: environ[name] for name in ("PATH", "HOME") if name in environ},
        "OPENBLAS_NUM_THREADS": "1",
        **(
            {"PYTHONPATH": environ["PYTHONPATH"]}
            if "PYTHONPATH" in environ and served.name.startswith("sapflow")
            else {}
        ),
        **served.environ,
    }
    command = [*served.command, str(port)]
    if served.name == "mlserver":
        command = list(served.command)
        variables |= {f"MLSERVER_{kind}_PORT": str(_free_port()) for kind in ("GRPC", "METRICS")}
        variables["MLSERVER_HTTP_PORT"] = str(port)
    began = time.perf_counter()
    process = subprocess.Popen(
        command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        while not _answers(port, served):
            if process.poll() is not None or time.perf_counter() - began > START_SECONDS:
                raise RuntimeError(f"{served.name} did not begin to answer")
            time.sleep(0.01)
        served.start = time.perf_counter() - began
        _apart(port, served, 1, 1.0)
        served.alone = _apart(port, served, 1, seconds)
        served.many = _apart(port, served, 64, seconds)
        served.resident = _resident(process.pid)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(port: int, served: Served) -> bool:
    """Whether the server answers."""
    head = (
        f"POST {served.path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(served.body)}\r\n\r\n"
    )
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.settimeout(30)
            connection.sendall(head.encode() + served.body)
            return connection.recv(4096).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def _apart(port: int, served: Served, connections: int, seconds: float) -> Load:
    """A load from a process of its own."""
    command = [
        sys.executable,
        "-m",
        "bench.request_load",
        str(port),
        served.path,
        str(connections),
        str(seconds),
    ]
    done = subprocess.run(command, input=served.body, capture_output=True, check=True, timeout=seconds + 60)
    found = json.loads(done.stdout)
    return Load(found["seconds"], found["elapsed"], found["failed"])


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found: int = listener.getsockname()[1]
    return found


def _resident(pid: int) -> float:
    """MiB of a process and of those that it has started."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
            if os.getpgid(int(status.parent.name)) == pid:
                total += int(lines.get("VmRSS", "0 kB").split()[0])
        except (OSError, ValueError):
            continue
    return total / 1024


def _told(served: Served) -> str:
    assert served.alone is not None
    assert served.many is not None
    return (
        f"{served.name}: first answer after {served.start:.2f} s, {served.resident:.0f} MiB; one connection p50 "
        f"{milliseconds(served.alone.percentile(50))}, p99 {milliseconds(served.alone.percentile(99))}; 64 connections "
        f"{served.many.per_second:.0f}/s, p50 {milliseconds(served.many.percentile(50))}, p99 "
        f"{milliseconds(served.many.percentile(99))}, {served.many.failed + served.alone.failed} failed"
    )
