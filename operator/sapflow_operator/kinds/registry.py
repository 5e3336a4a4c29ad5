"""All kinds of custom resources whose resources have a driver. A ModelService has none: see `serving/`."""

from typing import Any

from sapflow_operator.kind import Kind
from sapflow_operator.kinds.training_job import TRAINING_JOB
from sapflow_operator.kinds.tuning_job import TUNING_JOB

KINDS: tuple[Kind[Any], ...] = (TRAINING_JOB, TUNING_JOB)
