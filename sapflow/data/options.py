"""Options of a source: each module states its own as a pydantic model, checked here."""

from collections.abc import Mapping
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sapflow.data.chunks import MAX_CLASSES, Task
from sapflow.errors import DataError


class Options(BaseModel):
    """Base: unknown options are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FileOptions(Options):
    """What every format of files takes. `task` left out: integers are classes, other numbers are values."""

    task: Literal["Classification", "Regression"] | None = None
    classes: int | None = Field(None, ge=2, le=MAX_CLASSES)

    def kind(self) -> Task | None:
        if self.task is None:
            return None
        return "classification" if self.task == "Classification" else "regression"


AnyOptions = TypeVar("AnyOptions", bound=Options)


def parse(model: type[AnyOptions], given: Mapping[str, object], source: str) -> AnyOptions:
    """The options of `source`. Raises DataError: names the option, what is wrong, and what may be given."""
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'options'}: {one['msg']}" for one in error.errors()
        )
        allowed = ", ".join(model.model_fields) or "none"
        raise DataError(f"options of {source}: {problems}. Allowed options: {allowed}") from error
