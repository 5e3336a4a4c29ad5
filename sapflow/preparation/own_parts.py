"""What preparations are put together of: all readers and all steps that there are."""

from collections.abc import Mapping

from sapflow.preparation.opened import Parts
from sapflow.preparation.reading.registry import reader_of
from sapflow.preparation.step import Schema, Step
from sapflow.preparation.steps import registry
from sapflow.preparation.steps.split import SplitStep
from sapflow.spec.preparation.prepare import PrepareSpec


def own_parts() -> Parts:
    """The parts that functions use."""
    return Parts(reader_of, steps_of, registry.CLASSES)


def steps_of(prepare: PrepareSpec, seed: int, given: Schema, files: Mapping[str, str]) -> list[Step]:
    """The steps that a spec asks for, the split first. `files` has what is in those that it names."""
    del given
    split = SplitStep(prepare.split, prepare.target, seed)
    return [split, *(registry.step_of(each, prepare.target, files) for each in prepare.steps or [])]
