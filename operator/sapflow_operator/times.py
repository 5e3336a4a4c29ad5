"""Times in the API server's format: UTC, in whole seconds."""

from datetime import UTC, datetime


def write(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read(text: str) -> datetime:
    """Parse a time. Raises ValueError."""
    return datetime.fromisoformat(text)
