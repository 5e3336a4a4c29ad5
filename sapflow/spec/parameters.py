"""The parameters of a TuningJob: which fields of its template are searched, and which values they may take."""

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from sapflow.spec.types import IN_WORDS, Model

PATH_PATTERN = r"^spec(\.[A-Za-z][A-Za-z0-9_-]*|\[[0-9]{1,4}\])+$"
INT_MOST = 2**53 - 1
IN_WORDS[PATH_PATTERN] = "must be a field's path in the template, as spec.optimizer.learningRate"

ParameterPath = Annotated[str, StringConstraints(pattern=PATH_PATTERN, max_length=253)]
ParameterValues = Annotated[dict[ParameterPath, Any], Field(min_length=1, max_length=64)]
Integer = Annotated[int, Field(ge=-INT_MOST, le=INT_MOST)]


class FloatSpec(Model):
    """Numbers between two bounds, both included."""

    min: float = Field(description="The least value.")
    max: float = Field(description="The largest value.")
    log: bool | None = Field(
        None, description="Whether values are spread evenly by their logarithms, as learning rates should be."
    )
    step: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Distance of two values, counted from min; left out: any number."
    )


class IntSpec(Model):
    """Whole numbers between two bounds, both included."""

    min: Integer = Field(description="The least value.")
    max: Integer = Field(description="The largest value.")
    log: bool | None = Field(None, description="Whether values are spread evenly by their logarithms.")
    step: Annotated[int, Field(ge=1, le=INT_MOST)] | None = Field(
        None, description="Distance of two values, counted from min; left out: 1."
    )


class CategoricalSpec(Model):
    """One of several values, between which there is no order."""

    choices: Annotated[list[Any], Field(min_length=1, max_length=64)] = Field(
        description="The values: numbers, texts, true or false, lists, mappings."
    )


class WhenSpec(Model):
    """The condition under which a parameter is there at all."""

    path: ParameterPath = Field(description="The path of a parameter that stands before this one.")
    values: Annotated[list[Any], Field(min_length=1, max_length=64)] = Field(
        description="The parameter is there if that one has one of these values."
    )


class ParameterSpec(Model):
    """A field of the template whose value is searched: a float, an int or a categorical."""

    path: ParameterPath = Field(
        description="The field, as `spec.optimizer.learningRate` or `spec.model.args.hidden[0]`."
    )
    float_: FloatSpec | None = Field(None, alias="float")
    int_: IntSpec | None = Field(None, alias="int")
    categorical: CategoricalSpec | None = None
    when: WhenSpec | None = None

    @property
    def extremes(self) -> list[Any]:
        """The bounds of a number, all choices of a categorical."""
        if self.categorical is not None:
            return list(self.categorical.choices)
        numbers = self.float_ or self.int_
        return [] if numbers is None else [numbers.min, numbers.max]
