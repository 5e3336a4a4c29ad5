"""Consent to code that a file or a store names: nothing but built-in models is built without it.

Whoever hands on a model's file, or can write to a bucket, could name any function in it. So what such a document names
is imported only if the user, or a job that the user wrote, names the same.
"""

from collections.abc import Iterable

from sapflow.errors import DataError
from sapflow.spec.learning import ModelSpec


def given_as(entrypoint: str | Iterable[str] | None) -> tuple[str, ...]:
    """The entrypoints in an argument that takes one or several."""
    if entrypoint is None:
        return ()
    return (entrypoint,) if isinstance(entrypoint, str) else tuple(entrypoint)


def lacking(model: ModelSpec, consent: Iterable[str]) -> list[str]:
    """The entrypoints that a model's description names and the user does not."""
    given = set(consent)
    return [each for each in model.code if each not in given]


def check(model: ModelSpec, consent: Iterable[str], name: str) -> None:
    """Raise DataError unless the user consents to exactly the code that the file `name` names."""
    given = tuple(consent)
    missing = lacking(model, given)
    named = ", ".join(model.code) or f"only the built-in model {model.name}"
    if missing and not given:
        raise DataError(
            f"{name} names code of its own ({', '.join(missing)}), which would be imported and called: if you trust "
            f"it, consent with {in_words(missing)}; its module must be importable"
        )
    other = [each for each in given if each not in model.code]
    if missing or other:
        raise DataError(
            f"{name} names {named}, and the consent is to {', '.join(given)}: nothing was imported. Consent to the "
            "same, or take another file"
        )


def in_words(entrypoints: Iterable[str]) -> str:
    """How to consent, on the command line and in Python."""
    names = tuple(entrypoints)
    options = " ".join(f"--entrypoint {each}" for each in names)
    return f"{options} (in Python: entrypoint={names[0] if len(names) == 1 else list(names)!r})"
