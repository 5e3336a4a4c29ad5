"""Names of a ModelService's children that its operator makes, and that its callers look up."""

SUFFIX = "-serve"
TOKEN_KEY = "token"
"""Under which a Secret has a bearer token."""


def token_secret(pool: str) -> str:
    """The Secret with the bearer token of a ModelService that names none; `pool` is its name with SUFFIX."""
    return f"{pool}-token"
