"""Options of a source. Each source's module declares its options as a pydantic model; they are checked here."""

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, TypeVar

import numpy as np
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError

from sapflow.data import labels
from sapflow.data.chunks import Chunk, Source
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


def _name_or_number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(_QUOTE.format(str(value).lower()))
    if not isinstance(value, str | int):
        raise ValueError(f"must be a column's name, in quotation marks, or its number, got {value!r}")
    return value


_QUOTE = (
    "is {} here, because YAML takes no, off, yes and on without quotation marks for false and true: write the "
    'name as "no"'
)

Place = Annotated[int | str, BeforeValidator(_name_or_number)]
"""A column's name, or its number from 0; negative numbers count from the end."""


def _place_or_none(value: object) -> object:
    return None if value is None else _name_or_number(value)


OptionalPlace = Annotated[int | str | None, BeforeValidator(_place_or_none)]


def _classes(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(_QUOTE.format(str(value).lower()))
    if isinstance(value, list):
        for each in value:
            if isinstance(each, bool):
                raise ValueError(f"one of them {_QUOTE.format(str(each).lower())}")
            if not isinstance(each, str):
                raise ValueError(f"are words in quotation marks, such as {str(each)!r}, got {each!r}")
        if twice := sorted({each for each in value if value.count(each) > 1}):
            raise ValueError(f"names {twice[0]!r} twice: each class has a name of its own")
    count = len(value) if isinstance(value, list) else value
    if isinstance(count, int) and not 2 <= count <= MAX_CLASSES:
        raise ValueError(f"there can be 2 to {MAX_CLASSES} classes, not {count}")
    return value


class FileOptions(Options):
    """Options of every file format. `classes` is the number of classes, or the words for them in their order.

    `task` left out: words, and whole numbers, are classes; several columns of 0 and 1 are labels; other numbers are
    values.
    """

    task: Family | None = None
    classes: Annotated[int | list[str] | None, BeforeValidator(_classes)] = None

    @property
    def kind(self) -> str | None:
        """The family of tasks that is asked for."""
        return "classification" if self.class_names else self.task

    @property
    def class_names(self) -> tuple[str, ...]:
        """The listed words, by class number."""
        return tuple(self.classes) if isinstance(self.classes, list) else ()

    @property
    def class_count(self) -> int | None:
        """The number of classes if it is given."""
        return len(self.classes) if isinstance(self.classes, list) else self.classes

    def source(
        self,
        name: str,
        chunks: Callable[[], Iterator[Chunk]],
        *,
        brings_validation: bool = False,
        table: object = None,
    ) -> Source:
        """A source of which is learnt what these options say; the arguments are its other fields."""
        return Source(name, chunks, self.kind, self.class_count, brings_validation, self.class_names, table)

    def numbered(self, targets: np.ndarray, origin: str, row: int) -> np.ndarray:
        """Class numbers of targets if classes are listed, else the unchanged targets. Raises DataError."""
        if not self.class_names or targets.ndim != 1:
            return targets
        return labels.numbered(
            targets, self.class_names, lambda index: f"{origin}, row {row + index} (the first is 0)"
        )


AnyOptions = TypeVar("AnyOptions", bound=Options)


def parse(model: type[AnyOptions], given: Mapping[str, object], source: str) -> AnyOptions:
    """The checked options of `source`. Raises DataError, which names the option and the options that are allowed."""
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'options'}: {one['msg'].removeprefix('Value error, ')}"
            for one in error.errors()
        )
        allowed = ", ".join(model.model_fields) or "none"
        raise DataError(f"options of {source}: {problems}. Allowed options: {allowed}") from error
