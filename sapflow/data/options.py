"""Options of a source. Each source's module declares its options as a pydantic model; they are checked here."""

from collections.abc import Mapping
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sapflow.data.chunks import MAX_CLASSES, Task
from sapflow.errors import DataError


class Options(BaseModel):
    """The base of all options; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FileOptions(Options):
    """Options of every file format. Without `task` integers are classes and other numbers are values."""

    task: Literal["Classification", "Regression"] | None = None
    classes: int | None = Field(None, ge=2, le=MAX_CLASSES)

    def kind(self) -> Task | None:
        if self.task is None:
            return None
        return "classification" if self.task == "Classification" else "regression"


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
