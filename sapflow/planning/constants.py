"""The constants of the law: what the pieces of a step take, in seconds, and where each was measured."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

Units = Mapping[str, float]
"""How many of each unit something takes, by the name of the constant that prices it."""


@dataclass(frozen=True, slots=True)
class Constants:
    """Seconds of each unit of work. Cold starts are no part of them: a step is a warm one."""

    origin: str
    """Where they were measured, for people."""
    step: float
    """Of the driver, once a step, the commit's request apart: digests, keys, the next step's requests."""
    level: float
    """Of the driver, for each merging level: from the last answer of a group to the call of its merger."""
    dispatch: float
    """CPU of the driver for one invocation. It is one process: calls leave it one after the other."""
    call: float
    """A warm call that does nothing, there and back."""
    request: float
    """One request to the store, children apart."""
    read: float
    """One byte read, children apart."""
    write: float
    """One byte written."""
    child: float
    """One child of a merger, whatever its size: with `child_byte` the paper's t_m. Children are read ahead."""
    child_byte: float
    """One byte of a child, read and added."""
    fetch: float
    """Wait for a store that is far away to answer with a child. Several are asked for at once, and share one wait."""
    fetch_byte: float
    """One byte of a child on its way here over its own connection; those that are asked for at once travel together."""
    flop: float
    """One floating-point operation of a worker on one CPU, the reading of its samples included."""

    def seconds(self, units: Units) -> float:
        """The sum of units × their constants."""
        return sum(number * float(getattr(self, name)) for name, number in units.items())

    def changed(self, origin: str, values: Mapping[str, float]) -> "Constants":
        """With some constants put in place."""
        return replace(self, origin=origin, **values)


FITTED = tuple(field.name for field in fields(Constants) if field.name not in ("origin", "flop"))
"""Constants that a step's seconds tell of. `flop` is measured by itself: workers answer with their computing time."""

LOCAL_DIRECTORY = Constants(
    origin="local processes and a directory on tmpfs, 2 cores (docs/benchmarks.md, 2026-11-23)",
    # Profile of the step of 2 × 1,000 samples: 0.6 ms from the root's answer to the commit, one request of it.
    step=0.4e-3,
    # There 0.25 ms from the last answer to the root's call; most of it is the driver's CPU for that call.
    level=0.1e-3,
    # Row "driver: CPU for one invocation", 1,000 workers a step that do nothing.
    dispatch=0.342e-3,
    # The same profile: HTTP both ways.
    call=0.6e-3,
    # The same profile: the root's two durable objects in 0.4 ms.
    request=0.2e-3,
    # Rows t_m and "merge 20 × 43 MB, directory": 0.24 s for 14 children and 3 writes one after the other. A write makes
    # new pages, and is taken to cost some three times a read.
    read=0.25e-9,
    write=0.7e-9,
    # Row t_m: 0.197 ms for a child of 170,404 bytes, less its bytes.
    child=0.154e-3,
    child_byte=0.25e-9,
    # Nothing is far away: whatever the store takes to answer is in `child` and `child_byte`.
    fetch=0.0,
    fetch_byte=0.0,
    # The same profile: 5.2 ms of computing and 0.4 ms of reading for 1,000 samples of case A's network, 253 kflop each.
    flop=2.2e-11,
)
"""`sapflow run` with its own kind of store."""

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
"""`sapflow run` on an S3 store."""

KNATIVE = LOCAL_MINIO.changed(
    "Knative with MinIO in the cluster, two nodes on 2 cores (2026-11-23)",
    # A warm call through the activator that does nothing.
    {"call": 2.7e-3},
)
"""A cluster."""
