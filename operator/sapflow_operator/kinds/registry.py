"""All kinds of custom resources that the operator serves."""

from typing import Any

from sapflow_operator.kind import Kind
from sapflow_operator.kinds.training_job import TRAINING_JOB

KINDS: tuple[Kind[Any], ...] = (TRAINING_JOB,)
