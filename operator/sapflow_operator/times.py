"""Moments as the API server writes them: UTC, whole seconds."""

from datetime import UTC, datetime


def write(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read(text: str) -> datetime:
    """Raises ValueError where the text is no moment."""
    return datetime.fromisoformat(text)
