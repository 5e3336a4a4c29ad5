"""The refusal of records that a later release of Sapflow has written: what it knows more is not left out in silence."""

from collections.abc import Iterable

from pydantic import ValidationError

from sapflow.errors import LaterRelease
from sapflow.release import RELEASE

_MOST_FIELDS = 3


def unknown_fields(error: ValidationError) -> list[str]:
    """The fields that a record has and this release does not know, if nothing else is wrong with it."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    unknown = [".".join(map(str, each["loc"])) for each in found if each["type"] == "extra_forbidden"]
    return unknown if len(unknown) == len(found) else []


def later_release(key: str, what: str, names: Iterable[str]) -> LaterRelease:
    """The error about an object with a `what` (an entry, a field) of these names."""
    shown = ", ".join(repr(each[:100]) for each in sorted(names)[:_MOST_FIELDS])
    return LaterRelease(
        f"object {key} has {what} {shown}, which this release of Sapflow ({RELEASE}) does not know: a later "
        "release has written it. Nothing was changed. Go on with that release; or begin anew with this one, by "
        "`sapflow run --again`, in a cluster by deleting the resource and applying it again"
    )
