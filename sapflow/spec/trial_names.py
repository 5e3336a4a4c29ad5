"""Names of a search's trials: wherever a job may be named, `SEARCH/trials/7` is a trial, `SEARCH/trials/best` the best.

The name with a number, after the search's uid, is also what a trial is called in its store, in logs and in records.
"""

import re
from dataclasses import dataclass

BEST = "best"
TRIAL_PATTERN = rf"/trials/(0|[1-9][0-9]{{0,7}}|{BEST})"
"""The end of a trial's name, as a regular expression that API servers know, too."""
_NAME = re.compile(rf"(.+){TRIAL_PATTERN}")


@dataclass(frozen=True, slots=True)
class TrialName:
    """A trial of a search that is named in some way: by its name, its uid, or its file."""

    search: str
    number: int | None
    """From 0 in the order in which they began; None: the best one."""

    def __str__(self) -> str:
        return f"{self.search}/trials/{BEST if self.number is None else self.number}"


def trial_named(name: str) -> TrialName | None:
    """The trial that a name is of; None for the name of a job or a search."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    return TrialName(found[1], None if found[2] == BEST else int(found[2]))
