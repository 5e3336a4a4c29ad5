"""The part of a TrainingJob's spec about updates of parameters: optimiser, groups, learning rate."""

from typing import Annotated

from pydantic import Field, StringConstraints

from sapflow.algorithms.hyperparameters import OptimizerName
from sapflow.algorithms.schedules import Metric, ScheduleName
from sapflow.spec.types import Count, Model

Epochs = Annotated[float, Field(gt=0, le=1_000_000)]


class ScheduleSpec(Model):
    """Learning-rate schedule, by the number of (local) steps taken. Lengths are in steps, or in epochs, which may be
    parts of one and are rounded to whole steps."""

    name: ScheduleName = Field("Constant", description="The shape of the schedule.")
    warmup_steps: Annotated[int, Field(ge=0, lt=2**31)] = Field(0, description="Steps of linear warm-up.")
    warmup_epochs: Epochs | None = Field(
        None, description="Epochs of linear warm-up, in place of warmupSteps."
    )
    step_size: Count | None = Field(
        None,
        description="Step: steps between two decays. Plateau: steps whose mean training loss is compared; one epoch "
        "if left out.",
    )
    step_epochs: Epochs | None = Field(None, description="stepSize in epochs, in place of it.")
    gamma: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="Step, Exponential: factor of one decay."
    )
    end_factor: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="Linear: factor at the end."
    )
    min_factor: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="Cosine: factor at the end. Plateau: the least factor. 0 if left out."
    )
    pct_start: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="OneCycle: the part of the job in which the rate climbs; 0.3 if left out."
    )
    div_factor: Annotated[float, Field(ge=1, le=1_000_000_000)] | None = Field(
        None, description="OneCycle: the rate starts at learningRate divided by this; 25 if left out."
    )
    final_div_factor: Annotated[float, Field(ge=1, le=1_000_000_000)] | None = Field(
        None, description="OneCycle: the rate ends at its start divided by this; 10,000 if left out."
    )
    metric: Metric | None = Field(
        None,
        description="Plateau: the loss to follow. TrainingLoss, if left out, is that of the committed steps; with "
        "ValidationLoss each step after an evaluated version waits for its evaluation.",
    )
    factor: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="Plateau: what the rate is multiplied by; 0.1 if left out."
    )
    patience: Annotated[int, Field(ge=0, lt=2**31)] | None = Field(
        None,
        description="Plateau: losses in a row that may be no better; one more lowers the rate. 10 if left out.",
    )
    threshold: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None,
        description="Plateau: the part of the best loss by which a better one is lower; 0.0001 if left out.",
    )


class GroupSpec(Model):
    """Parameters with a weight decay or a learning rate of their own, found by their names."""

    match: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=256)]],
        Field(min_length=1, max_length=32),
    ] = Field(
        description="Patterns on parameter names as `state_dict` has them: `*` any text, `?` one character, `[ab]` one "
        "of these. A parameter belongs to the first group that matches it; each pattern must match one."
    )
    weight_decay: Annotated[float, Field(ge=0)] | None = Field(
        None, description="In place of the optimizer's."
    )
    learning_rate_factor: Annotated[float, Field(ge=0, le=1_000_000)] | None = Field(
        None, description="What the learning rate is multiplied by; 1 if left out."
    )


class OptimizerSpec(Model):
    """The update rule. Those up to RMSprop equal torch.optim's of that name; Lion is that of Chen et al. (2023), LAMB
    that of You et al. (2020)."""

    name: OptimizerName = Field("SGD", description="The optimiser.")
    learning_rate: Annotated[float, Field(gt=0)] = Field(
        0.01, description="Base learning rate; the highest one of OneCycle."
    )
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="Momentum, Nesterov; 0.9 if left out. RMSprop; 0 if left out."
    )
    beta1: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="Adam, AdamW, Lion, LAMB; 0.9 if left out."
    )
    beta2: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="Adam, AdamW, LAMB; 0.999 if left out. Lion; 0.99 if left out."
    )
    epsilon: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Adam, AdamW, RMSprop (1e-8), Adagrad (1e-10), LAMB (1e-6)."
    )
    alpha: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="RMSprop: what is kept of the mean of squares; 0.99 if left out."
    )
    centered: bool | None = Field(
        None, description="RMSprop: whether the mean of gradients is taken off, squared; false if left out."
    )
    weight_decay: Annotated[float, Field(ge=0)] | None = Field(
        None,
        description="L2 penalty; decoupled in AdamW (0.01 there if left out, else 0) and Lion; in LAMB a part of the "
        "step whose norm is taken.",
    )
    clip_norm: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Largest global norm of the gradient."
    )
    groups: Annotated[list[GroupSpec], Field(min_length=1, max_length=16)] | None = Field(
        None,
        description="Parameters with a weight decay or learning rate of their own, the first that matches. "
        "See [spec.optimizer.groups](#specoptimizergroups).",
    )
    schedule: ScheduleSpec = ScheduleSpec()
