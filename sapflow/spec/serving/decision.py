"""`decision`: what is made of a served model's outputs, as data. Rules between fields are in service_rules.py."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from sapflow.spec.types import TEMPLATE_PATTERN, Model

DEFAULT_TOP = 5
MOST_CLASSES = 1000
"""Classes that thresholds, costs, messages and boxes may be given for."""
Label = Annotated[str, StringConstraints(min_length=1, max_length=253)]
Share = Annotated[float, Field(ge=0, le=1)]
Template = Annotated[str, StringConstraints(pattern=TEMPLATE_PATTERN, min_length=1, max_length=1024)]
Cost = Annotated[float, Field(ge=-1e12, le=1e12)]
Answer = Literal["Label", "Probabilities", "TopK"]


class AbstainSpec(Model):
    """When none of the classes is decided for."""

    below: Share | None = Field(
        None, description="Abstain where the class that would be decided for is less probable than this."
    )
    cost: Cost | None = Field(
        None, description="With costs: abstain where the least expected cost is above this."
    )
    label: Label = Field("abstained", description="What the decision is called then.")


class BoxesSpec(Model):
    """The outputs are boxes of a detector: for each, four coordinates, and then a score for each class."""

    classes: Annotated[list[Label], Field(min_length=1, max_length=MOST_CLASSES)] = Field(
        description="The names of the classes, in the order of their scores."
    )
    coordinates: Literal["Corners", "Centers"] | None = Field(
        None,
        description="Corners: left, top, right, bottom (or left out). Centers: the middle's x and y, width, height.",
    )
    scores: Literal["Logits", "Probabilities"] | None = Field(
        None,
        description="Logits: the sigmoid of an output is its score (or left out). Probabilities: as they are.",
    )
    min_score: Share | None = Field(None, description="Boxes of a lower score are left out; 0.5 if left out.")
    max_overlap: Share | None = Field(
        None,
        description="Of two boxes of one class whose intersection is a larger part of their union, the one of the "
        "lower score is left out; 0.5 if left out.",
    )
    most: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None, description="Boxes of one sample, at most; 100 if left out."
    )


class DecisionSpec(Model):
    """From the model's outputs to what is answered, and to a message. All left out: the likeliest class with its
    probability, or the values."""

    answer: Answer | None = Field(
        None,
        description="Label: the class that is decided for and its probability (or left out). Probabilities: those of "
        "all classes, too. TopK: the likeliest classes, too.",
    )
    top_k: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None, description="How many classes TopK tells; 5 if left out."
    )
    thresholds: Annotated[dict[Label, Share], Field(min_length=1, max_length=MOST_CLASSES)] | None = Field(
        None,
        description="By class. A class with a threshold is decided for where its probability reaches it; of several, "
        "the one that is above it by the largest factor. Else it is the likeliest class without a threshold, and if "
        "all have one, the decision abstains. Of several labels each is there from its threshold on, 0.5 if it has "
        "none.",
    )
    costs: (
        Annotated[
            list[Annotated[list[Cost], Field(min_length=2, max_length=100)]],
            Field(min_length=2, max_length=100),
        ]
        | None
    ) = Field(
        None,
        description="What it costs to decide for the class of a column where the class of a row is true, in the "
        "order of the model's classes: the decision is of the least expected cost.",
    )
    abstain: AbstainSpec | None = None
    boxes: BoxesSpec | None = None
    message: Template | None = Field(
        None,
        description="A sentence for people, with {label}, {probability}, {value}, {count} of boxes, and {row.NAME} of "
        "the raw row's columns; numbers may have a form, as {probability:.0%} or {value:.2f}.",
    )
    messages: Annotated[dict[Label, Template], Field(min_length=1, max_length=MOST_CLASSES)] | None = Field(
        None, description="Such sentences by what is decided; message is for all others."
    )

    @property
    def top(self) -> int:
        """The classes that are told; 0 if only the decision is."""
        return 0 if self.answer != "TopK" else self.top_k or DEFAULT_TOP
