"""Which sources of data a spec may name, and where those in a bucket are."""

from urllib.parse import parse_qsl, urlsplit

CLUSTER_SOURCE = r"^(sklearn|synthetic|generated):.+$|^s3://.+$"
_SEGMENT = r"[A-Za-z0-9!_=+,@-][A-Za-z0-9!_.=+,@-]*"
S3_SOURCE = rf"^s3://[a-z0-9][a-z0-9.-]+(/{_SEGMENT})+/?(\?[A-Za-z0-9._~:/%&=-]*)?$"
"""Allows no wildcards, which could get into an access policy, and only one way to write a prefix."""
JOBS_SOURCE = r"^s3://[^/]*/jobs(/|\?|$)"
"""Sources below the prefix of jobs' state, which are refused."""


def s3_location(source: str) -> tuple[str, str, dict[str, str]] | None:
    """(bucket, prefix, options) of an s3:// source, None for other sources."""
    if not source.startswith("s3://"):
        return None
    parts = urlsplit(source, allow_fragments=False)
    return parts.netloc, parts.path.strip("/"), dict(parse_qsl(parts.query))
