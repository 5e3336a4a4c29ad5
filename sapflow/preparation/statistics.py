"""What is counted in one pass: by the steps that learn, of the rows as such, and once all is fitted of the samples.

It is taken over the batches of a partition one after the other, and merged over partitions up a tree of fixed fan-in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sapflow.errors import CorruptObject
from sapflow.preparation import census
from sapflow.preparation.census import EXAMPLES, Census
from sapflow.preparation.pipeline import Collected, Pipeline, State
from sapflow.preparation.record import Record, joined, parts

_FACTS, _CENSUS, _STEPS = "facts", "census", "steps"


@dataclass(frozen=True, slots=True)
class Statistics:
    """What is counted of consecutive partitions, or of the beginning of one."""

    rows: int = 0
    """That were read, bad ones among them."""
    rejected: int = 0
    """That could not be read."""
    examples: tuple[Mapping[str, Any], ...] = ()
    """The first of the rejected ones."""
    steps: Collected = field(default_factory=dict)
    census: Census | None = None

    def record(self) -> Record:
        """The statistics as a record."""
        found = {
            _FACTS: Record(
                {
                    "rows": self.rows,
                    "rejected": self.rejected,
                    "examples": [dict(each) for each in self.examples],
                }
            ),
            _STEPS: joined({str(number): each for number, each in sorted(self.steps.items())}),
        }
        if self.census is not None:
            found[_CENSUS] = self.census.record()
        return joined(found)

    @classmethod
    def of_record(cls, record: Record, key: str) -> "Statistics":
        """The statistics that `record` was made from. Raises CorruptObject if it is none."""
        try:
            found = parts(record)
            facts = found[_FACTS].notes
            return cls(
                int(facts["rows"]),
                int(facts["rejected"]),
                tuple(facts["examples"]),
                {int(number): each for number, each in parts(found[_STEPS]).items()},
                Census.of_record(found[_CENSUS]) if _CENSUS in found else None,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptObject(f"object {key} has no statistics of a preparation: {error!r}") from error

    @property
    def bad(self) -> int:
        """All rows that gave no sample because something is wrong with them."""
        return self.rejected + (0 if self.census is None else self.census.bad)

    @property
    def bad_examples(self) -> tuple[Mapping[str, Any], ...]:
        """The first of them."""
        return (self.examples + (() if self.census is None else self.census.examples))[:EXAMPLES]


def merged(pipeline: Pipeline, state: State, found: Sequence[Statistics]) -> Statistics:
    """The statistics of several ranges of partitions, in their order."""
    taken = [each.census for each in found if each.census is not None]
    examples = tuple(example for each in found for example in each.examples)
    return Statistics(
        sum(each.rows for each in found),
        sum(each.rejected for each in found),
        examples[:EXAMPLES],
        pipeline.merge(state, [each.steps for each in found]),
        census.merged(taken) if taken else None,
    )
