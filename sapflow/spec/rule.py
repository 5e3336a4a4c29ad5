"""A rule between fields of a spec."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Rule(Generic[S]):
    """A rule about `field` of `spec`. `holds` and `cel` are equivalent; in `cel` the spec is `self`."""

    field: str
    message: str
    holds: Callable[[S], bool]
    cel: str
    runtime: Literal["both", "kubernetes"] = "both"
