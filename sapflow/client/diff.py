"""Compares two jobs version by version, as their commits recorded them."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sapflow.client.job_data import find_manifest
from sapflow.client.session import Session
from sapflow.driver.provenance import data_digest
from sapflow.driver.windows import batched
from sapflow.errors import DataError
from sapflow.objects import keys
from sapflow.records import parting
from sapflow.records.commits import Commit, Records
from sapflow.records.parting import Reason, Step
from sapflow.spec.resolved import differences

_AT_ONCE = 32
_MOST_FIELDS = 50


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two jobs part, or how far they are the same."""

    first: str
    second: str
    version: int | None
    """The first version whose bits differ; None if there is none among those that were compared."""
    compared: tuple[int, int] | None
    """The first and the last version that were compared; None if they have none in common."""
    unknown: int
    """How many of these their commits do not tell the bits of."""
    reasons: tuple[Reason, ...]
    """Of the parting, what differs; where nothing parts, what differs all the same."""
    ends: tuple[int, int]
    """The last version of each."""

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "first": self.first,
            "second": self.second,
            "version": self.version,
            "compared": None if self.compared is None else list(self.compared),
            "unknown": self.unknown,
            "reasons": [{"kind": each.kind, "words": each.words} for each in self.reasons],
            "lastVersions": list(self.ends),
        }
        return {name: value for name, value in found.items() if value is not None}


async def diff(one: Session, other: Session) -> Difference:
    """Compare two jobs, which may lie in two stores. Raises DataError if one has no version yet, and StoreError."""
    firsts = [await _first(each) for each in (one, other)]
    records = [Records(each.store, each.prefix) for each in (one, other)]
    ends = [last.version for each in records if (last := await each.last()) is not None]
    begin, end = max(each.first_version for each in firsts), min(ends)
    reasons = [*_spec(one, other), *parting.beginnings(*firsts), *await _data(one, other, firsts)]
    unknown, parted = 0, None
    for versions in batched(range(begin, end + 1), _AT_ONCE):
        pairs = [asyncio.gather(*(_commit(each, version) for each in records)) for version in versions]
        for version, (mine, yours) in zip(versions, await asyncio.gather(*pairs), strict=True):
            same = parting.same_bits(mine, yours)
            unknown += same is None
            if same is False:
                parted = version
                break
        if parted is not None:
            break
    if parted is not None:
        steps = [await _step(each, first, parted) for each, first in zip(records, firsts, strict=True)]
        reasons += parting.reasons(*steps)
        if not reasons:
            why = "nothing that was recorded differs: the same work gave other bits; `sapflow verify` both"
            reasons.append(Reason("bits", why))
    seen = (begin, end if parted is None else parted) if begin <= end else None
    return Difference(one.uid, other.uid, parted, seen, unknown, tuple(reasons), (ends[0], ends[1]))


def _spec(one: Session, other: Session) -> list[Reason]:
    """The fields of the specs that differ, with their values."""
    mine, yours = (each.job.to_json()["spec"] for each in (one, other))
    found = []
    for path in differences(mine, yours)[:_MOST_FIELDS]:
        if not path.startswith("from"):
            values = f"{_value(mine, path)} and {_value(yours, path)}"
            found.append(Reason("spec", f"spec.{path}: {values}"))
    return found


def _value(document: Mapping[str, Any], path: str) -> str:
    value: Any = document
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return "left out" if value is None else str(value)


async def _data(one: Session, other: Session, firsts: list[Commit]) -> list[Reason]:
    """Whether the data differs, where commits of earlier releases do not say it."""
    if all(each.data is not None for each in firsts):
        return []
    mine, yours = [await asyncio.to_thread(find_manifest, each) for each in (one, other)]
    if mine is None or yours is None or data_digest(mine) == data_digest(yours):
        return []
    return [Reason("data", "their data, as it was cut, differs")]


async def _first(session: Session) -> Commit:
    found = await Records(session.store, session.prefix).commit(0)
    if found is None:
        raise DataError(f"job {session.uid} has no version yet: there is nothing to compare")
    return found


async def _commit(records: Records, version: int) -> Commit:
    found = await records.commit(version)
    if found is None:
        missing = keys.commit(records.prefix, version)
        raise DataError(f"{missing} is missing, although later versions are there: the store is incomplete")
    return found


async def _step(records: Records, first: Commit, version: int) -> Step:
    commit = await _commit(records, version)
    if version == first.first_version:
        return Step(commit, None, None)
    before = await _commit(records, version - 1)
    return Step(commit, before, await records.plan(commit.dealt or before.plan))
