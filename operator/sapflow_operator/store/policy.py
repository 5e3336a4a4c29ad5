"""The S3 policy of a job: access to its own prefix, and reading the data that it names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sapflow.objects import keys
from sapflow.spec.sources import JOBS_SOURCE, S3_SOURCE, s3_location

_ROOTS = ("jobs/", "shared/")


@dataclass(frozen=True, slots=True)
class SharedGrant:
    """What a job may do in the shared area that has its data: read it, write blocks where it is to cut them, and remove
    what only their preparation needs where raw data is prepared."""

    digest: str
    write: bool = False
    clear: bool = False


def session_policy(
    bucket: str,
    uid: str,
    source: str,
    objects: Sequence[str] = (),
    validation: str = "",
    origin: Sequence[str] = (),
    shared: SharedGrant | None = None,
) -> dict[str, Any]:
    """A policy for reading and writing `jobs/<uid>/`, and for reading an s3:// source, an object or what lies below it.

    `validation` is a second source, which is treated alike.

    Only the folder `prefix/` may be listed: with `prefix` alone a source `j` would list the keys of all jobs.

    `objects` are s3:// URLs of single objects that may be read as well. `origin`: keys of another job's objects, or
    patterns of them, which a fork, or a search that knows an earlier one's results, may read. Of a shared area the data
    may be read and, for `shared.write`, written; not who uses it. Nothing may be removed but, for `shared.clear`, what
    a preparation needs only while it goes on.

    A source that could reach below jobs/ or a shared area in any bucket is granted nothing. The spec's rules refuse it,
    too; this is a second barrier.
    """
    own = keys.job(uid)
    # Without the right to list, S3 answers 403 for an object that does not exist.
    listed = {bucket: [f"{own}*"]}
    readable: list[str] = []
    statements = [_allow(["GetObject", "PutObject", "DeleteObject"], [f"{bucket}/{own}*"])]
    if shared is not None:
        data = f"{keys.data(keys.area(shared.digest))}*"
        listed[bucket].append(data)
        readable.append(f"{bucket}/{data}")
        if shared.write:
            statements.append(_allow(["PutObject"], [f"{bucket}/{data}"]))
        if shared.clear:
            work = keys.preparation_work(keys.data(keys.area(shared.digest)))
            statements.append(_allow(["DeleteObject"], [f"{bucket}/{work}*"]))
    for name, prefix in dict.fromkeys([*_data(source), *_data(validation)]):
        listed.setdefault(name, []).append(f"{prefix}/*")
        readable += [f"{name}/{prefix}", f"{name}/{prefix}/*"]
    readable += [f"{name}/{key}" for url in objects for name, key in _data(url)]
    readable += [f"{bucket}/{key}" for key in origin]
    # The log of another search is read until a record is missing.
    listed[bucket] += [key for key in origin if key.endswith(keys.search_log("/") + "*")]
    if readable:
        # One statement for all: a policy has 2,048 characters.
        statements.append(_allow(["GetObject"], readable))
    statements += [_allow(["ListBucket"], [name], prefixes=found) for name, found in listed.items()]
    statements.append(_allow(["GetBucketLocation"], [*listed]))
    return {"Version": "2012-10-17", "Statement": statements}


def reading_policy(bucket: str, readable: Sequence[str]) -> dict[str, Any]:
    """A policy for reading the objects with these keys, or with keys of these patterns, which end in `/*`, and no more.

    Raises ValueError for a key that a policy would take for more than one object.
    """
    for key in readable:
        if any(each in key.removesuffix("/*") for each in "*?$") or key.startswith("/"):
            raise ValueError(f"{key!r} is no key that a policy can name")
    return {
        "Version": "2012-10-17",
        "Statement": [
            _allow(["GetObject"], [f"{bucket}/{key}" for key in readable]),
            # Without the right to list, S3 answers 403 for an object that does not exist.
            _allow(["ListBucket"], [bucket], prefixes=[*readable]),
            _allow(["GetBucketLocation"], [bucket]),
        ],
    }


def _data(source: str) -> list[tuple[str, str]]:
    """The pairs (bucket, prefix) that may be read for a source."""
    location = s3_location(source)
    if location is None or not re.fullmatch(S3_SOURCE, source) or re.match(JOBS_SOURCE, source):
        return []
    bucket, prefix, _ = location
    return [] if not prefix or f"{prefix}/" in _ROOTS else [(bucket, prefix)]


def _allow(actions: list[str], resources: list[str], prefixes: list[str] | None = None) -> dict[str, Any]:
    statement: dict[str, Any] = {
        "Effect": "Allow",
        "Action": [f"s3:{action}" for action in actions],
        "Resource": [f"arn:aws:s3:::{resource}" for resource in resources],
    }
    if prefixes is not None:
        statement["Condition"] = {"StringLike": {"s3:prefix": prefixes}}
    return statement
