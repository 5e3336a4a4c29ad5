"""The constants of the cost model: the seconds that each unit of work takes, and where they were measured."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

Units = Mapping[str, float]
"""How many units of work something takes, by the name of the constant that each unit is multiplied with."""


@dataclass(frozen=True, slots=True)
class Constants:
    """Seconds of each unit of work in a warm step; cold starts are not modelled."""

    origin: str
    """Where they were measured, as text for people."""
    step: float
    """Driver time once a step, without the commit's request: digests, keys, the next step's requests."""
    level: float
    """Driver time for each merging level: from the last answer of a group to the call of its merger."""
    dispatch: float
    """CPU time of the driver for one invocation. The driver is one process and makes calls one after the other."""
    call: float
    """Round trip of a warm call that does nothing."""
    request: float
    """One request to the store; requests for a merger's children are counted by `child` and `fetch` instead."""
    read: float
    """One byte read; bytes of children are counted by `child_byte` instead."""
    write: float
    """One byte written."""
    child: float
    """One child of a merger, whatever its size; with `child_byte` it makes the paper's t_m."""
    child_byte: float
    """One byte of a child, read and added."""
    fetch: float
    """Latency of a remote store until a child begins to arrive. Children requested together share one wait."""
    fetch_byte: float
    """Transfer of one byte of a child on a connection of its own. Children requested together arrive in parallel."""
    inline: float
    """One inline child of a merger, whatever its size."""
    inline_byte: float
    """One byte of a contribution inside a request or an answer, encoded, sent and decoded."""
    flop: float
    """One floating-point operation of a worker on one CPU, including the share of reading its samples."""

    def seconds(self, units: Units) -> float:
        """The sum of units × their constants."""
        return sum(number * float(getattr(self, name)) for name, number in units.items())

    def changed(self, origin: str, values: Mapping[str, float]) -> "Constants":
        """A copy with some constants replaced."""
        return replace(self, origin=origin, **values)


_NOT_FITTED = ("origin", "inline_byte", "flop")
FITTED = tuple(field.name for field in fields(Constants) if field.name not in _NOT_FITTED)
"""Constants that are fitted to a step's seconds. `flop` is not: workers report their computing time."""

LOCAL_DIRECTORY = Constants(
    origin="local processes and a directory on tmpfs, 2 cores (docs/benchmarks.md, 2026-11-23)",
    # Profile of the step of 2 × 1,000 samples: 0.6 ms from the root's answer to the commit, one request included.
    step=0.4e-3,
    # The same profile: 0.25 ms from the last answer to the root's call, mostly the driver's CPU for that call.
    level=0.1e-3,
    # Row "driver: CPU for one invocation": steps of 1,000 workers that do nothing.
    dispatch=0.342e-3,
    # The same profile: HTTP both ways.
    call=0.6e-3,
    # The same profile: the root's two durable objects in 0.4 ms.
    request=0.2e-3,
    # Rows t_m and "merge 20 × 43 MB, directory": 0.24 s for 14 children and 3 writes one after the other. A write
    # allocates new pages; it is assumed to cost about three times a read.
    read=0.25e-9,
    write=0.7e-9,
    # Row t_m: 0.197 ms for a child of 170,404 bytes, less its bytes.
    child=0.154e-3,
    child_byte=0.25e-9,
    # The store is local: the time that it takes to answer is part of `child` and `child_byte`.
    fetch=0.0,
    fetch_byte=0.0,
    # A merger called with 1 to 16 children of 1 to 170 kB inside the request, 2026-11-28: 0.027 ms for each child
    # and 2.0 ns for each byte, one way.
    inline=0.027e-3,
    inline_byte=2.0e-9,
    # The same profile: 5.2 ms of computing and 0.4 ms of reading for 1,000 samples of case A's network, 253 kflop each.
    flop=2.2e-11,
)
"""`sapflow run` with a directory as its store, the default."""

LOCAL_MINIO = LOCAL_DIRECTORY.changed(
    "local processes and MinIO on the same 2 cores (docs/benchmarks.md, 2026-11-23)",
    {
        # A round trip of 170 kB takes 4.5 ms, of which its bytes take 0.7.
        "request": 3.8e-3,
        # Section "Synchronise" there: the root reads and adds eight contributions of 12.9 MB in 0.09 s,
        "read": 0.87e-9,
        "child_byte": 0.87e-9,
        # and puts one in 0.05 s.
        "write": 3.9e-9,
        # Row t_m: 1.17 ms for a child of 170,404 bytes, less its bytes.
        "child": 1.02e-3,
    },
)
"""`sapflow run` with an S3 store."""

KNATIVE = LOCAL_MINIO.changed(
    "Knative with MinIO in the cluster, two nodes on 2 cores (2026-11-23)",
    # A warm call through the activator that does nothing.
    {"call": 2.7e-3},
)
"""Jobs in a cluster."""
