"""One rule of the spec that no single field can tell."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from sapflow.spec.training_job import Spec


@dataclass(frozen=True, slots=True)
class Rule:
    """`field` is below `spec`; `holds` and `cel` say the same of it, `cel` with `self` as the spec."""

    field: str
    message: str
    holds: "Callable[[Spec], bool]"
    cel: str
    runtime: Literal["both", "kubernetes"] = "both"
