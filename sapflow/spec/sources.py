"""Which sources of data a spec may name, and where those in a bucket are."""

from urllib.parse import parse_qsl, urlsplit

CLUSTER_SOURCE = r"^(sklearn|synthetic|generated):.+$|^s3://.+$"
_SEGMENT = r"[A-Za-z0-9!_=+,@-][A-Za-z0-9!_.=+,@-]*"
S3_SOURCE = rf"^s3://[a-z0-9][a-z0-9.-]+(/{_SEGMENT})+/?(\?[A-Za-z0-9._~:/%&=-]*)?$"
"""Allows no wildcards, which could get into an access policy, and only one way to write a prefix."""
JOBS_SOURCE = r"^s3://[^/]*/(jobs(/|\?|$)|shared/?(\?|$)|shared/[0-9a-f]{32}(/|\?|$))"
"""Sources below the prefix of jobs' state or of a shared area, or above all areas, which are refused."""
MEMORY = "memory"
"""The scheme of samples that a Python program hands over."""


def beside(source: str, store: str) -> str:
    """An s3:// URL, completed with the endpoint and region of the store's URL if it has none of its own."""
    parts, own = urlsplit(source, allow_fragments=False), urlsplit(store)
    if parts.query or own.scheme != "s3":
        return source
    return parts._replace(query=own.query).geturl()


def s3_location(source: str) -> tuple[str, str, dict[str, str]] | None:
    """(bucket, prefix, options) of an s3:// source, None for other sources."""
    if not source.startswith("s3://"):
        return None
    parts = urlsplit(source, allow_fragments=False)
    return parts.netloc, parts.path.strip("/"), dict(parse_qsl(parts.query))
