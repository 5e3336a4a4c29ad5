"""What a job or a search reads of another one: keys below that one's prefix. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sapflow.objects import keys
from sapflow.records.commits import Commit
from sapflow.tuning.found_parameters import FoundParameters
from sapflow_operator.names import Resource

MOST_OBJECTS = 32
"""Patterns of keys that a job may have: its policy has 2,048 characters."""


@dataclass(frozen=True, slots=True)
class OriginRequest:
    """What a spec names of another resource of its namespace."""

    field: str
    """The field of the spec that names the resource."""
    resource: Resource
    name: str
    version: int | None = None
    """The version that a fork begins at; None: the results of a search are asked for."""
    trial: int | None = None
    """The trial whose version it is, of a search; None: the best one."""
    parameters: bool = False
    """Whether the parameters of the trial are asked for, and nothing else."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The other resource's uid, and the keys below its prefix that are read; a key that ends in `*` is a pattern."""

    uid: str
    objects: tuple[str, ...]
    trial: int | None = None
    """The trial of a search that a fork begins at."""
    found: FoundParameters | None = None
    """The parameters that a job is trained with, of which nothing is read any more."""

    def to_status(self) -> dict[str, Any]:
        """As `status.origin` has it."""
        found: dict[str, Any] = {"uid": self.uid, "objects": list(self.objects)}
        if self.found is not None:
            found |= {"parameters": dict(self.found.values), "absent": list(self.found.absent)}
        return found if self.trial is None else {**found, "trial": self.trial}


def parameters_in(status: Mapping[str, Any] | None) -> FoundParameters | None:
    """The parameters that a `status.origin` has, which may be none."""
    if status is None or "parameters" not in status:
        return None
    return FoundParameters(int(status["trial"]), status["parameters"], tuple(status.get("absent", ())))


def granted(status: Mapping[str, Any] | None) -> list[str]:
    """The keys that the credentials allow to read for a `status.origin`, which may be none."""
    if status is None:
        return []
    return [f"{keys.job(str(status['uid']))}{name}" for name in status["objects"]]


def prefix_of(uid: str, trial: int | None) -> str:
    """The prefix of the job that a fork begins at: a job of its own, or a trial of a search."""
    return keys.job(uid) if trial is None else keys.trial(keys.job(uid), trial)


def objects_of(uid: str, prefix: str, commit: Commit) -> tuple[str, ...]:
    """The keys that a fork of a version of the job at `prefix` reads, without the prefix of the resource `uid`: shards
    and ranks by a pattern."""
    records = [keys.spec(prefix), keys.commit(prefix, 0), keys.commit(prefix, commit.version)]
    records.append(keys.plan(prefix, commit.plan))
    shards = [_pattern(part.key) for part in (*commit.params, *commit.optimizer)]
    states = [keys.rank_state(prefix, each.version, each.id, 0)[:-1] + "*" for each in commit.states or ()]
    return tuple(dict.fromkeys(name.removeprefix(keys.job(uid)) for name in (*records, *shards, *states)))


def results_of(uid: str) -> tuple[str, ...]:
    """The keys from which another search learns what a search has found, below that one's prefix."""
    prefix = keys.job(uid)
    return tuple(name.removeprefix(prefix) for name in (keys.spec(prefix), f"{keys.search_log(prefix)}*"))


def _pattern(key: str) -> str:
    """A shard's key with those of all shards of the same version, of parameters and optimiser state alike, which no
    other object's key fits; any other key as it is. A trial that began at another one's version names its objects."""
    folder, _, name = key.rpartition("/")
    version, _, shard = name.rpartition(".")
    return f"{folder.rpartition('/')[0]}/*/{version}.*" if shard.isdecimal() else key
