"""What a job runs where it leaves its merge tree or its shards to the planner."""

from typing import Any

import pytest
from helpers.jobs import document

from sapflow.errors import SpecError
from sapflow.planning import choice, workload
from sapflow.planning.choice import Remaining
from sapflow.planning.constants import KNATIVE, Constants
from sapflow.planning.cost_model import Work
from sapflow.planning.search import Candidate
from sapflow.planning.workload import Size
from sapflow.spec.document import parse
from sapflow.spec.training_job import TrainingJob

LARGE = Size(parameters=10_000_000, averaged=0, slots=1, forward_flops=20_000_000)


def job(**changes: Any) -> TrainingJob:
    # Dear by the GiB-second, and with enough memory: mergers of many shards cost more than they save.
    given = {"workers": 64, "merge_structure": None, "memory": {"worker": "4Gi", "merger": "4Gi"}}
    return parse(document(**{**given, **changes}), "kubernetes")


def work(one: TrainingJob, size: Size = LARGE, constants: Constants = KNATIVE) -> Work:
    return workload.work_of(one, size, constants, "kubernetes", None)


def chosen(one: TrainingJob, remaining: Remaining | None = None, size: Size = LARGE) -> Candidate:
    return choice.choose(one, work(one, size), KNATIVE, size, remaining or Remaining())


def all_of(one: TrainingJob) -> list[Candidate]:
    return list(choice.candidates(one, work(one), KNATIVE, LARGE, "seconds"))


def test_what_the_job_names_is_kept() -> None:
    both = chosen(job(merge={"structure": [1, 3, 64], "shards": 5}))
    assert (both.structure, both.shards) == ((1, 3, 64), 5)
    assert chosen(job(merge={"structure": [1, 3, 64]})).structure == (1, 3, 64)
    assert chosen(job(merge={"shards": 5})).shards == 5


def test_what_it_leaves_out_is_the_fastest_of_all_that_its_instances_allow() -> None:
    one = job()
    best = chosen(one)
    tried = all_of(one)
    assert len(tried) > 100
    assert best.prediction.seconds == min(each.prediction.seconds for each in tried)
    assert all(each.shards * max(each.structure[:-1]) <= one.instances["merger"] for each in tried)
    assert best.shards > 1


def test_shards_are_chosen_for_a_tree_that_is_given() -> None:
    best = chosen(job(merge={"structure": [1, 8, 64]}))
    assert best.shards > 1
    assert 8 * best.shards <= job(merge={"structure": [1, 8, 64]}).instances["merger"]


def test_the_least_cost_is_that_of_the_cheapest_tree() -> None:
    one = job(limits={"goal": "LeastCost"})
    assert chosen(one).prediction.dollars == min(each.prediction.dollars for each in all_of(one))
    assert chosen(one).prediction.seconds > chosen(job()).prediction.seconds


def test_within_a_deadline_the_cheapest_that_keeps_it_is_taken() -> None:
    one = job(limits={"goal": "LeastCost", "deadlineSeconds": 600})
    fast, cheap = chosen(job()).prediction.seconds, chosen(one).prediction.seconds
    limit = (fast + cheap) / 2
    best = chosen(one, Remaining(steps=100, seconds=100 * limit))
    allowed = [each.prediction.dollars for each in all_of(one) if each.prediction.seconds <= limit]
    assert best.prediction.dollars == min(allowed)
    assert fast <= best.prediction.seconds <= limit


def test_within_a_budget_the_fastest_that_keeps_it_is_taken() -> None:
    one = job(limits={"goal": "LeastTime", "budgetUSD": 1})
    dear, cheap = chosen(job()).prediction.dollars, min(each.prediction.dollars for each in all_of(one))
    limit = (dear + cheap) / 2
    best = chosen(one, Remaining(steps=100, dollars=100 * limit))
    allowed = [each.prediction.seconds for each in all_of(one) if each.prediction.dollars <= limit]
    assert best.prediction.seconds == min(allowed)


def test_where_nothing_keeps_within_a_limit_the_one_that_misses_it_by_least_is_taken() -> None:
    one = job(limits={"goal": "LeastCost", "deadlineSeconds": 1})
    assert (
        chosen(one, Remaining(steps=100, seconds=1e-3)).prediction.seconds == chosen(job()).prediction.seconds
    )


def test_only_the_limit_that_a_goal_is_to_keep_within_counts() -> None:
    limits = {"deadlineSeconds": 600, "budgetUSD": 2.0}
    none = choice.within_limits(job(limits=limits), 10, seconds=100, dollars=0.5)
    cost = choice.within_limits(job(limits={**limits, "goal": "LeastCost"}), 10, seconds=100, dollars=0.5)
    time = choice.within_limits(job(limits={**limits, "goal": "LeastTime"}), 10, seconds=100, dollars=0.5)
    assert none == Remaining(10)
    assert cost == Remaining(10, seconds=500)
    assert time == Remaining(10, dollars=1.5)


def test_mergers_too_small_for_any_shard_are_an_error_that_names_them() -> None:
    with pytest.raises(SpecError, match=r"spec\.memory\.merger"):
        chosen(job(memory={"worker": "4Gi", "merger": "64Mi"}))


def test_mergers_that_grow_are_held_to_no_memory() -> None:
    small = {"worker": "4Gi", "merger": "64Mi", "growOnOOM": True}
    assert chosen(job(memory=small)).prediction.seconds > 0


def test_warm_workers_that_merge_are_no_more_than_there_are() -> None:
    one = job(merge={"reuseWorkers": True})
    assert all(each.shards * max(each.structure[:-1]) <= 64 for each in all_of(one))


def test_a_tree_that_is_named_is_kept_where_memory_asks_for_more_shards_than_there_would_be_mergers() -> None:
    # Two shards at least, and 22 mergers of each: more than a planned job's 32.
    large = Size(parameters=25_600_000, averaged=0, slots=1, forward_flops=0)
    one = job(
        workers=100,
        merge={"structure": [1, 5, 22, 100]},
        memory={"worker": "4Gi", "merger": "256Mi"},
    )
    best = choice.choose(one, work(one, large), KNATIVE, large, Remaining())
    assert (best.structure, best.shards) == ((1, 5, 22, 100), 2)


@pytest.mark.parametrize(
    ("merge", "first"),
    [({"structure": [1, 1]}, 1), ({"structure": [1, 8, 64], "shards": 2}, 16), ({"reuseWorkers": True}, 1)],
)
def test_no_more_mergers_are_started_ahead_than_the_tree_at_hand_has(
    merge: dict[str, Any], first: int
) -> None:
    one = job(merge=merge, workers=merge.get("structure", [64])[-1])
    assert one.first_mergers == first <= one.instances["merger"]
