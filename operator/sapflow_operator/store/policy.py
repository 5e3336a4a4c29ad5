"""The S3 policy of a job: access to its own prefix, and reading the data that it names."""

import re
from collections.abc import Sequence
from typing import Any

from sapflow.objects import keys
from sapflow.spec.sources import JOBS_SOURCE, S3_SOURCE, s3_location

_ROOT = "jobs/"


def session_policy(
    bucket: str,
    uid: str,
    source: str,
    weights: str = "",
    validation: str = "",
    origin: Sequence[str] = (),
) -> dict[str, Any]:
    """A policy for reading and writing `jobs/<uid>/`, and for reading an s3:// source, an object or what lies below it.

    `validation` is a second source, which is treated alike.

    Only the folder `prefix/` may be listed: with `prefix` alone a source `j` would list the keys of all jobs.

    `weights` is one object that may be read as well. `origin`: keys of another job's objects, or patterns of them,
    which a fork may read.

    A source that could reach below jobs/ in any bucket is granted nothing. The spec's rules refuse it, too; this is a
    second barrier.
    """
    own = keys.job(uid)
    statements = [
        _allow(["GetObject", "PutObject", "DeleteObject"], [f"{bucket}/{own}*"]),
        # Without the right to list, S3 answers 403 for an object that does not exist.
        _allow(["ListBucket"], [bucket], prefixes=[f"{own}*"]),
        _allow(["GetBucketLocation"], [bucket]),
    ]
    readable: list[str] = []
    for name, prefix in dict.fromkeys([*_data(source), *_data(validation)]):
        readable += [f"{name}/{prefix}", f"{name}/{prefix}/*"]
        statements += [
            _allow(["ListBucket"], [name], prefixes=[f"{prefix}/*"]),
            _allow(["GetBucketLocation"], [name]),
        ]
    readable += [f"{name}/{key}" for name, key in _data(weights)]
    readable += [f"{bucket}/{key}" for key in origin]
    if readable:
        # One statement for all: a policy has 2,048 characters.
        statements.append(_allow(["GetObject"], readable))
    return {"Version": "2012-10-17", "Statement": statements}


def _data(source: str) -> list[tuple[str, str]]:
    """The pairs (bucket, prefix) that may be read for a source."""
    location = s3_location(source)
    if location is None or not re.fullmatch(S3_SOURCE, source) or re.match(JOBS_SOURCE, source):
        return []
    bucket, prefix, _ = location
    return [] if not prefix or f"{prefix}/".startswith(_ROOT) else [(bucket, prefix)]


def _allow(actions: list[str], resources: list[str], prefixes: list[str] | None = None) -> dict[str, Any]:
    statement: dict[str, Any] = {
        "Effect": "Allow",
        "Action": [f"s3:{action}" for action in actions],
        "Resource": [f"arn:aws:s3:::{resource}" for resource in resources],
    }
    if prefixes is not None:
        statement["Condition"] = {"StringLike": {"s3:prefix": prefixes}}
    return statement
