"""What may happen to a job, for hypothesis to draw: faults of invocations and deaths of drivers."""

import os
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from helpers.functions import Fault
from helpers.jobs import Crash

LATE = st.sampled_from([0.05, 0.3, 1.0, 5.0, 40.0])
"""Seconds: within the step, after its commit, long after the end. An invocation takes 0.05 s on average."""

FAULTS = st.one_of(
    st.sampled_from([Fault("refuse"), Fault("lose"), Fault("twice"), Fault("silent")]),
    st.builds(Fault, st.just("kill"), write=st.integers(0, 3), after=st.booleans()),
    st.builds(Fault, st.just("interleave"), write=st.integers(0, 3)),
    st.builds(Fault, st.just("late"), seconds=LATE),
    st.builds(Fault, st.just("slow"), seconds=LATE),
)
CRASHES = st.builds(Crash, st.integers(0, 45), st.sampled_from(["before", "after", "cancel"]))


@dataclass(frozen=True)
class Schedule:
    """Faults by number of the invocation, crashes, and the seed of all delays."""

    faults: dict[int, Fault]
    crashes: list[Crash]
    drivers: int
    hurry: float
    seed: int


SCHEDULES = st.builds(
    Schedule,
    faults=st.dictionaries(st.integers(0, 60), FAULTS, max_size=14),
    crashes=st.lists(CRASHES, max_size=3, unique_by=lambda crash: crash.write),
    drivers=st.sampled_from([1, 1, 1, 2]),
    hurry=st.sampled_from([0.0, 0.0, 0.5, 1.0]),
    seed=st.integers(0, 2**16),
)

THOROUGH = settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
"""The same schedules each time; a failing one is shown as drawn, since shrinking takes minutes."""

SEARCHES = int(os.environ.get("SAPFLOW_SEARCH_SCHEDULES", "20"))
"""How many schedules the tests of whole searches take, each a search of half a second."""
