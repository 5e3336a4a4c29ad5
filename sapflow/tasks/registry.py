"""All tasks, and the choice of a data set's task."""

import numpy as np

from sapflow.errors import CorruptObject
from sapflow.tasks.classification import Classification
from sapflow.tasks.multilabel import MultiLabel
from sapflow.tasks.regression import Regression
from sapflow.tasks.targets import Targets
from sapflow.tasks.task import Task

TASKS: dict[str, type[Task]] = {each.name: each for each in (MultiLabel, Classification, Regression)}
"""The tasks by name, in the order in which they are tried for a data set."""

FAMILIES = tuple(dict.fromkeys(each.family for each in TASKS.values()))
"""The families of tasks that a source may ask for."""


def of_targets(targets: np.ndarray, family: str | None) -> type[Task]:
    """The task of a data set by its first targets, [n] or [n, k], and the `family` that is asked for, if any."""
    for task in TASKS.values():
        if family in (None, task.family) and task.fits(targets, asked=family is not None):
            return task
    raise AssertionError(f"no task takes targets of type {targets.dtype}")


def task_for(name: str, targets: Targets, *, scale_target: bool = False) -> Task:
    """The task of that name for these targets. Raises CorruptObject if there is none, as in data of later releases."""
    if name not in TASKS:
        raise CorruptObject(f"there is no task {name!r}; there are {', '.join(TASKS)}")
    return TASKS[name](targets, scale_target=scale_target)
