"""What a fork reads of another job: keys below that job's prefix. Pure."""

from dataclasses import dataclass
from typing import Any

from sapflow.objects import keys
from sapflow.records.commits import Commit

MOST_OBJECTS = 32
"""Patterns of keys that a job may have: its policy has 2,048 characters."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The other job's uid, and the keys below its prefix that a fork reads; a key that ends in `*` is a pattern."""

    uid: str
    objects: tuple[str, ...]

    def to_status(self) -> dict[str, Any]:
        """As `status.origin` has it."""
        return {"uid": self.uid, "objects": list(self.objects)}


def objects_of(prefix: str, commit: Commit) -> tuple[str, ...]:
    """The keys that a fork of a version reads, below the prefix of the other job: shards and ranks by a pattern."""
    records = [keys.spec(prefix), keys.commit(prefix, 0), keys.commit(prefix, commit.version)]
    records.append(keys.plan(prefix, commit.plan))
    shards = [_pattern(prefix, part.key) for part in (*commit.params, *commit.optimizer)]
    states = [keys.rank_state(prefix, each.version, each.id, 0)[:-1] + "*" for each in commit.states or ()]
    return tuple(dict.fromkeys(name.removeprefix(prefix) for name in (*records, *shards, *states)))


def _pattern(prefix: str, key: str) -> str:
    """A shard's key with those of all shards of the same version, of parameters and optimiser state alike, which no
    other object's key fits; any other key as it is."""
    version, _, shard = key.rpartition("/")[2].rpartition(".")
    return f"{prefix}*/{version}.*" if shard.isdecimal() else key
