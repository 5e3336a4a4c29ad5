"""Which shared area a job's data belongs in: the digest of everything that a cut follows from, and nothing else.

    shared/<digest>/area.json   {"version", "numerics", "blockBytes", "scope", "seed", "data", "files"}

Two jobs that would cut the same blocks have the same digest, and no other two do. The record is what the digest is of,
so it can be checked who may use an area: the job whose spec names what the record says, in the record's scope.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sapflow.data.block_size import MAX_BLOCK_BYTES
from sapflow.data.fingerprint import CutFile
from sapflow.errors import CorruptObject
from sapflow.objects import keys
from sapflow.records.numerics import NUMERICS
from sapflow.spec.learning import DataSpec
from sapflow.spec.sources import MEMORY
from sapflow.spec.training_job import TrainingJob
from sapflow.text import parse_json

VERSION = 1
"""Raise it when blocks or manifests of one record would differ from those of earlier releases without being refused by
`numerics`."""
LOCAL = "local"
"""The scope of runs on this machine. In a cluster it is `namespace/NAME`: no namespace reads another's areas."""
CUT_BY = ("source", "format", "options", "validationFraction", "split", "validation", "normalize", "prepare")
"""The fields of spec.data that a cut follows from. All others say how blocks are read."""


@dataclass(frozen=True, slots=True)
class Area:
    """A shared area: its digest, and the record that this is the digest of."""

    digest: str
    record: bytes


def shareable(data: DataSpec) -> bool:
    """Whether a job's data may lie in a shared area.

    Samples that a Python program handed over come from code of its own, so they stay with the job.
    """
    return not data.source.startswith(f"{MEMORY}:")


def namespace(name: str) -> str:
    """The scope of the jobs of a namespace."""
    return f"namespace/{name}"


def area_of(job: TrainingJob, files: Sequence[CutFile], scope: str) -> Area:
    """The area of a job's data, whose source has these files; none if its samples are in no files."""
    record = {
        "version": VERSION,
        "numerics": NUMERICS,
        "blockBytes": MAX_BLOCK_BYTES,
        **_named(job, scope),
        "files": [_content(each) for each in files],
    }
    return Area(_digest(record), json.dumps(record, sort_keys=True, indent=1).encode())


def belongs(record: bytes, digest: str, job: TrainingJob, scope: str) -> bool:
    """Whether `record` is that of the area `digest`, and the area is one for what `job` names in this scope.

    Its files are as they were when the area was made: a job goes on with the samples that it was begun with. Raises
    CorruptObject if it is no record.
    """
    try:
        found = parse_json(record)
    except ValueError as error:
        raise CorruptObject(f"object {keys.area_record(digest)} is not JSON: {error}") from error
    if not isinstance(found, dict) or _digest(found) != digest:
        return False
    named = _named(job, scope)
    return {name: found.get(name) for name in named} == named


def _named(job: TrainingJob, scope: str) -> dict[str, Any]:
    """What the spec says of an area, as JSON."""
    data = job.spec.data.model_dump(by_alias=True, mode="json", exclude_none=True)
    named = {name: data[name] for name in CUT_BY if name in data}
    return {"scope": scope, "seed": job.spec.algorithm.seed, "data": named}


def _content(file: CutFile) -> dict[str, Any]:
    """What tells a file's content from another: its SHA-256, or the ETag where an object store has it."""
    told = {"tag": file.tag} if file.sha256 is None else {"sha256": file.sha256}
    return {"name": file.name, "size": file.size, **told}


def _digest(record: dict[str, Any]) -> str:
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[: keys.AREA_DIGITS]
