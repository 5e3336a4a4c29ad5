"""A rule between fields of the spec."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from sapflow.spec.training_job import Spec


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule about `field` of `spec`. `holds` and `cel` are equivalent; in `cel` the spec is `self`."""

    field: str
    message: str
    holds: "Callable[[Spec], bool]"
    cel: str
    runtime: Literal["both", "kubernetes"] = "both"
