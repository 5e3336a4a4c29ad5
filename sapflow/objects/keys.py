"""Every object key, built in one place. Keys are computed, never listed.

`<v>-<id>` joins a version to the digest of what it stands on (see `step_id`), so that two requests that
could differ never share a key.
"""

import hashlib
import json
from collections.abc import Sequence

_CELLS = "cells/"


def digest(value: object, length: int = 16) -> str:
    """The first `length` hex digits of the SHA-256 of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def step_id(previous_commit: str, plan: str, contributions: Sequence[str] = ()) -> str:
    """The `<id>` of a version: its previous commit's digest, its plan and, if asynchronous, what is applied."""
    return digest([previous_commit, plan, list(contributions)])


def job(uid: str) -> str:
    return f"jobs/{uid}/"


def spec(uid: str) -> str:
    return f"jobs/{uid}/spec.json"


def plan(uid: str, name: str) -> str:
    return f"jobs/{uid}/plans/{name}.json"


def commits(uid: str) -> str:
    return f"jobs/{uid}/commits/"


def commit(uid: str, version: int) -> str:
    return f"{commits(uid)}{version}.json"


def data(uid: str) -> str:
    """The prefix that holds the blocks and manifest of a job's data."""
    return f"jobs/{uid}/data/"


def contribution(uid: str, version: int, ident: str, level: int, index: int, shard: int) -> str:
    return f"jobs/{uid}/work/{version}-{ident}/{level}-{index}.{shard}"


def in_cell(cell: int, key: str) -> str:
    """The same object where only the functions of one cell see it."""
    return f"{_CELLS}{cell}/{key}"


def cell_of(key: str) -> int | None:
    """The cell of a key that `in_cell` made, None for one of the store."""
    return int(key[len(_CELLS) :].partition("/")[0]) if key.startswith(_CELLS) else None


def is_params(key: str) -> bool:
    """Whether a key of the store is of parameters, of which a cell may keep a copy."""
    parts = key.split("/", 3)
    return len(parts) == 4 and parts[0] == "jobs" and parts[2] == "params"


def async_contribution(uid: str, rank: int, count: int, base: int, shard: int) -> str:
    """Contribution `count` of `rank`, computed on version `base`."""
    return f"jobs/{uid}/work/async/{rank}-{count}-{base}.{shard}"


def total(uid: str, version: int, ident: str, shard: int) -> str:
    """The sum over all workers of one shard's range, between the root's two phases."""
    return f"jobs/{uid}/work/{version}-{ident}/total.{shard}"


def cursor(contribution_key: str, done: int) -> str:
    """What an invocation that ran out of time leaves after `done` micro-batches or children."""
    return f"{contribution_key}.cursor-{done}"


def params(uid: str, version: int, ident: str, shard: int) -> str:
    return f"jobs/{uid}/params/{version}-{ident}.{shard}"


def optimizer(uid: str, version: int, ident: str, shard: int) -> str:
    return f"jobs/{uid}/optimizer/{version}-{ident}.{shard}"


def evaluation(uid: str, version: int) -> str:
    return f"jobs/{uid}/evaluations/{version}.json"


def checkpoint(uid: str, version: int) -> str:
    return f"jobs/{uid}/checkpoints/{version}.json"


def failure(uid: str, version: int) -> str:
    return f"jobs/{uid}/failures/{version}.json"


def result(uid: str, name: str) -> str:
    return f"jobs/{uid}/result/{name}"
