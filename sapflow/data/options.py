"""Options of a source. Each source's module declares its options as a pydantic model; they are checked here."""

from collections.abc import Mapping
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from sapflow.errors import DataError
from sapflow.tasks.classification import MAX_CLASSES
from sapflow.tasks.registry import FAMILIES


class Options(BaseModel):
    """The base of all options; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _family(word: str) -> str:
    families = {each.capitalize(): each for each in FAMILIES}
    if word not in families:
        raise ValueError(f"must be {' or '.join(families)}, not {word!r}")
    return families[word]


Family = Annotated[str, AfterValidator(_family)]
"""`Classification` or `Regression`, kept as the tasks' family of that name."""


class FileOptions(Options):
    """Options of every file format.

    `task` left out: integers are classes, several columns of 0 and 1 are labels, other numbers are values.
    """

    task: Family | None = None
    classes: int | None = Field(None, ge=2, le=MAX_CLASSES)


AnyOptions = TypeVar("AnyOptions", bound=Options)


def parse(model: type[AnyOptions], given: Mapping[str, object], source: str) -> AnyOptions:
    """The checked options of `source`. Raises DataError, which names the option and the options that are allowed."""
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'options'}: {one['msg']}" for one in error.errors()
        )
        allowed = ", ".join(model.model_fields) or "none"
        raise DataError(f"options of {source}: {problems}. Allowed options: {allowed}") from error
