"""A rule between fields of a spec."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

S = TypeVar("S")
RuleRuntime = Literal["both", "kubernetes"]
"""Where a rule holds: everywhere, or in a cluster alone."""


@dataclass(frozen=True, slots=True)
class Rule(Generic[S]):
    """A rule about `field` of `spec`. `holds` and `cel` are equivalent; in `cel` the spec is `self`."""

    field: str
    message: str
    holds: Callable[[S], bool]
    cel: str
    runtime: RuleRuntime = "both"
    items: Callable[[S], Sequence[tuple[str, str]]] | None = None
    """(field, message) of each item of the list `field` that breaks it, of a rule about all of them. The API server can
    name no more than the list."""

    def problems(self, spec: S) -> Sequence[tuple[str, str]]:
        """(field, message) of each place at which it does not hold."""
        if self.holds(spec):
            return ()
        return ((self.field, self.message),) if self.items is None else self.items(spec)
