"""The cost model, its constants, and the search over trees."""

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sapflow.errors import SpecError
from sapflow.planning import calibration, search
from sapflow.planning.calibration import LevelTime, Measurement
from sapflow.planning.constants import KNATIVE, LOCAL_DIRECTORY, LOCAL_MINIO, Constants
from sapflow.planning.cost_model import CAUSES, CostModel, Work
from sapflow.planning.inline import REQUEST
from sapflow.planning.search import Candidate, Objective
from sapflow.quantities import structure
from sapflow.quantities.memory import MERGER_BASE
from sapflow.quantities.prices import AWS_LAMBDA, cost
from sapflow.quantities.structure import Structure

LIGHT = Work(workers=16, parameters=42_601, compute_seconds=0.0)
FAR = LOCAL_MINIO.changed(
    "0.2 s and 25 MB/s away",
    {"request": 0.2, "fetch": 0.2, "read": 4e-8, "write": 4e-8, "fetch_byte": 4e-8, "child_byte": 1e-9},
)
HEAVY = Work(workers=16, parameters=25_000_000, compute_seconds=0.5, slots=1, merger_memory=1 << 30)


def seconds(work: Work, constants: Constants, tree: Structure, shards: int = 1) -> float:
    return CostModel(work, constants).predict(tree, shards, AWS_LAMBDA).seconds


def trees(workers: int, levels: int) -> list[Structure]:
    """Every structure with at most so many levels between workers and root."""
    widths = range(1, workers + 1)
    found: set[Structure] = {(1, workers)}
    for number in range(1, levels + 1):
        found |= {(1, *each, workers) for each in itertools.combinations_with_replacement(widths, number)}
    return sorted(found)


@pytest.mark.parametrize(
    ("parameters", "measured"), [(42_601, (0.060, 0.081)), (3_225_000, (0.46, 0.61))], ids=["light", "heavy"]
)
def test_a_synchronisation_is_predicted_as_it_was_measured(
    parameters: int, measured: tuple[float, float]
) -> None:
    # Rows "synchronise" of docs/benchmarks.md: 8 processes, which share 2 cores with MinIO.
    work = Work(workers=8, parameters=parameters, compute_seconds=0.0, instances=2)
    least, most = measured
    assert 0.9 * least <= seconds(work, LOCAL_MINIO, (1, 8)) <= most


def test_a_local_step_is_predicted_as_it_was_measured() -> None:
    # The profile of 10.3 ms in docs/benchmarks.md.
    work = Work(workers=2, parameters=42_601, compute_seconds=5.6e-3, slots=1, instances=2)
    assert seconds(work, LOCAL_DIRECTORY, (1, 2)) == pytest.approx(10.3e-3, rel=0.05)


@pytest.mark.parametrize("objective", ["seconds", "dollars"])
@pytest.mark.parametrize("constants", [LOCAL_MINIO, KNATIVE], ids=["minio", "knative"])
@pytest.mark.parametrize("parameters", [250, 42_601])
def test_of_trees_that_differ_by_the_rounding_of_their_sums_the_one_with_fewest_mergers_is_best(
    parameters: int, constants: Constants, objective: Objective
) -> None:
    # 12 children on the way in each of [1, 4, 32] to [1, 8, 32]: equal, but summed in another order.
    work = Work(workers=32, parameters=parameters, compute_seconds=0.0)
    found = search.search(work, constants, AWS_LAMBDA, objective=objective, most=200)
    for one, other in itertools.pairwise(found):
        two = [getattr(each.prediction, objective) for each in (one, other)]
        sizes = [(len(each.structure), sum(each.structure)) for each in (one, other)]
        if two[0] == pytest.approx(two[1], rel=1e-12, abs=0):
            assert sizes[0] <= sizes[1]
        else:
            assert two[0] < two[1]
    if objective == "seconds":
        assert found[0].structure == (1, 4, 32)


def test_with_the_merging_term_alone_the_cost_model_is_equation_1() -> None:
    nothing = dict.fromkeys(
        ("step", "level", "dispatch", "call", "request", "read", "write", "child_byte"), 0.0
    )
    constants = KNATIVE.changed("eq. 1", nothing | {"child": 0.15})
    work = replace(LIGHT, workers=100)
    for tree in [(1, 100), (1, 10, 100), (1, 5, 22, 100), (1, 2, 10, 50, 100)]:
        assert seconds(work, constants, tree) == pytest.approx(structure.latency(tree, 0.15))


def test_the_parts_of_a_prediction_add_up_to_it_and_the_largest_is_the_bottleneck() -> None:
    for work, tree, shards in [
        (LIGHT, (1, 4, 16), 1),
        (HEAVY, (1, 4, 16), 4),
        (replace(HEAVY, instances=3), (1, 16), 2),
    ]:
        model = CostModel(work, KNATIVE)
        found = model.predict(tree, shards, AWS_LAMBDA)
        assert set(found.parts) == set(CAUSES)
        assert found.seconds == pytest.approx(sum(found.parts.values()))
        spans = sum(stage.span for stage in found.stages) + KNATIVE.level * (len(found.stages) - 1)
        assert found.seconds == pytest.approx(spans + KNATIVE.seconds(model.fixed()))
        assert found.parts[found.bottleneck] == max(found.parts.values())


def test_the_bottleneck_follows_the_work() -> None:
    def bottleneck(work: Work, tree: Structure, shards: int = 1) -> str:
        return CostModel(work, KNATIVE).predict(tree, shards, AWS_LAMBDA).bottleneck

    assert bottleneck(replace(LIGHT, compute_seconds=9.0), (1, 4, 16)) == "computing"
    assert bottleneck(HEAVY, (1, 16)) == "merging"
    assert bottleneck(replace(LIGHT, workers=10_000), (1, 10, 100, 10_000)) == "driver"
    assert bottleneck(replace(HEAVY, instances=1), (1, 4, 16)) == "waiting for instances"


def test_calls_beyond_the_instances_come_in_waves() -> None:
    work = replace(LIGHT, compute_seconds=1.0)
    free, held = seconds(work, KNATIVE, (1, 16)), seconds(replace(work, instances=4), KNATIVE, (1, 16))
    assert held - free == pytest.approx(3.0, abs=0.1)


def test_slow_mergers_take_longer_to_add_and_nothing_else_does() -> None:
    fast, slow = (
        CostModel(replace(HEAVY, merger_cpus=cpus), KNATIVE).predict((1, 16), 1, AWS_LAMBDA)
        for cpus in (1, 0.5)
    )
    assert slow.parts["merging"] == pytest.approx(2 * fast.parts["merging"])
    assert slow.seconds - fast.seconds == pytest.approx(fast.parts["merging"])


def test_a_far_store_s_small_children_are_waited_for_in_rounds_of_those_read_ahead() -> None:
    waits = [CostModel(LIGHT, FAR).merge_units(fan_in, 1)["fetch"] for fan_in in (1, 4, 5, 8, 17)]
    assert waits == [1, 1, 2, 2, 5]
    four, five = (CostModel(LIGHT, FAR).merge_units(fan_in, 1) for fan_in in (4, 5))
    wait = 0.2 + 4 * LIGHT.parameters * FAR.fetch_byte
    assert FAR.seconds(five) - FAR.seconds(four) == pytest.approx(
        wait + FAR.child + 4 * 42_601 * FAR.child_byte
    )


def test_a_far_store_s_large_children_take_their_bytes_or_the_asking_whichever_is_longer() -> None:
    streamed, asked = (
        CostModel(replace(LIGHT, parameters=count), FAR).merge_units(5, 1) for count in (25_000_000, 500_000)
    )
    assert (streamed["fetch"], streamed["fetch_byte"]) == (1, 5 * 100_000_000)
    assert (asked["fetch"], asked["fetch_byte"]) == (5, 2_000_000)


@pytest.mark.parametrize(("tree", "shards"), [((1, 4, 16), 1), ((1, 16), 2), ((1, 4, 16), 2)])
def test_what_a_root_wrote_is_not_read_again_by_the_instance_that_it_comes_back_to(
    tree: Structure, shards: int
) -> None:
    def root(work: Work) -> dict[str, float]:
        found: dict[str, float] = {}
        for stage in CostModel(work, LOCAL_MINIO).stages(tree, shards):
            if stage.name.startswith("root"):
                for name in ("read", "request"):
                    found[name] = found.get(name, 0.0) + stage.units.get(name, 0.0)
        return found

    elsewhere, back = root(HEAVY), root(replace(HEAVY, roots_return=True))
    vector = 4 * HEAVY.parameters / shards
    # Parameters and one slot, and with shards the sum between the two phases.
    assert (elsewhere["read"], back["read"]) == ((2 + (shards > 1)) * vector, 0)
    assert elsewhere["request"] - back["request"] == 2 + (shards > 1)
    crowded = root(replace(HEAVY, roots_return=True, instances=1))
    assert crowded == (elsewhere if shards > 1 else back)


def test_a_root_among_workers_that_share_its_role_is_on_any_of_them() -> None:
    def read(work: Work) -> float:
        return [*CostModel(work, LOCAL_MINIO).stages((1, 16), 1)][-1].units["read"]

    assert (read(HEAVY), read(replace(HEAVY, mergers="worker")) > 0) == (0, True)


def test_dollars_are_the_price_of_every_call() -> None:
    found = CostModel(LIGHT, KNATIVE).predict((1, 4, 16), 1, AWS_LAMBDA)
    worker, merger, root = (stage.seconds for stage in found.stages)
    expected = 16 * cost(AWS_LAMBDA, 512 << 20, worker) + 4 * cost(AWS_LAMBDA, 256 << 20, merger)
    assert found.dollars == pytest.approx(expected + cost(AWS_LAMBDA, 256 << 20, root))
    assert found.calls == 21


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 14),
    st.sampled_from([LIGHT, HEAVY, replace(LIGHT, instances=3), replace(HEAVY, instances=5)]),
    st.sampled_from([KNATIVE, LOCAL_DIRECTORY, FAR]),
    st.sampled_from(["seconds", "dollars"]),
)
def test_no_tree_at_all_beats_the_search(
    workers: int, kind: Work, constants: Constants, objective: Objective
) -> None:
    work, shards = replace(kind, workers=workers), (1, 2, 4)
    best = search.search(work, constants, AWS_LAMBDA, shards=shards, objective=objective, max_levels=3)[0]
    model = CostModel(work, constants)
    others = [
        getattr(model.predict(tree, number, AWS_LAMBDA), objective)
        for tree in trees(workers, 3)
        for number in shards
    ]
    assert getattr(best.prediction, objective) == pytest.approx(min(others), rel=1e-9)


@given(st.integers(1, 3_000), st.integers(0, 4))
@settings(max_examples=25, deadline=None)
def test_candidates_are_valid_distinct_and_in_order(workers: int, levels: int) -> None:
    work = replace(LIGHT, workers=workers)
    found = search.search(work, KNATIVE, AWS_LAMBDA, shards=(1, 2), most=6, max_levels=levels)
    assert [structure.validate(each.structure, workers) for each in found] == [[]] * len(found)
    assert all(len(each.structure) <= levels + 2 for each in found)
    assert len({(each.structure, each.shards) for each in found}) == len(found)
    times = [each.prediction.seconds for each in found]
    assert all(later >= earlier * (1 - 1e-12) for earlier, later in itertools.pairwise(times))


def test_large_contributions_are_sharded_and_small_ones_are_not() -> None:
    light, heavy = (
        search.search(replace(work, workers=64), KNATIVE, AWS_LAMBDA, shards=search.SHARDS)[0]
        for work in (LIGHT, HEAVY)
    )
    assert light.shards == 1
    assert len(light.structure) == 3
    assert heavy.shards > 1


def test_ten_thousand_workers_can_be_planned_for() -> None:
    # Of such trees there are millions; a search that tried them all would run into the test's time limit.
    work = replace(HEAVY, workers=10_000)
    (best, *_) = search.search(work, KNATIVE, AWS_LAMBDA, shards=search.SHARDS)
    assert best.prediction.seconds < 0.1 * seconds(work, KNATIVE, (1, 10_000))


def test_shards_that_a_merger_could_not_hold_are_left_out() -> None:
    work = replace(HEAVY, slots=2, merger_memory=MERGER_BASE + 4 * 2 * 25_000_000)
    assert search.feasible_shards(work, 64) == [number for number in search.SHARDS if number > 1]
    assert search.feasible_shards(replace(work, slots=0, parameters=1), 5) == [1, 2, 3, 4]


def test_a_sum_that_no_merger_can_hold_is_told() -> None:
    with pytest.raises(
        SpecError, match=r"spec\.memory\.merger: 128\.0 MiB is below the .* whatever the structure"
    ):
        search.feasible_shards(replace(HEAVY, merger_memory=128 << 20), 64)


def test_mergers_on_workers_have_the_memory_and_the_price_of_workers() -> None:
    work = replace(HEAVY, merger_memory=1, mergers="worker")
    assert search.feasible_shards(work, 1) == [1]
    assert {stage.role for stage in CostModel(work, KNATIVE).predict((1, 4, 16), 1, AWS_LAMBDA).stages} == {
        "worker"
    }


def measurements(constants: Constants) -> list[Measurement]:
    return [
        Measurement(work, tree, shards, seconds(work, constants, tree, shards))
        for parameters in (250, 42_601, 2_500_000, 25_000_000)
        for instances in (None, 8)
        for work in [replace(HEAVY, parameters=parameters, instances=instances, compute_seconds=0.01)]
        for tree in [(1, 16), (1, 2, 16), (1, 4, 16), (1, 8, 16), (1, 2, 4, 16), (1, 2, 4, 8, 16)]
        for shards in (1, 2, 4)
    ]


def test_constants_are_found_again_from_the_steps_that_they_make() -> None:
    truth = KNATIVE.changed("truth", {"call": 9e-3, "child": 4e-3, "child_byte": 3e-9, "level": 6e-3})
    found = calibration.fit(measurements(truth), KNATIVE)
    for name in ("child", "child_byte", "write"):
        assert getattr(found, name) == pytest.approx(getattr(truth, name), rel=0.02)
    for each in measurements(truth):
        assert seconds(each.work, found, each.structure, each.shards) == pytest.approx(each.seconds, rel=0.01)
    assert found.origin == "144 measured steps"


def measured(work: Work, truth: Constants, tree: Structure, shards: int = 1) -> Measurement:
    """A step with its parts as the driver would measure them, where these were the constants."""
    model = CostModel(work, truth)
    stages = tuple(model.stages(tree, shards))
    last = len(tree) - 1
    levels = []
    for number in range(last + 1):
        mine = stages[number:] if number == last else stages[number : number + 1]
        totals = dict.fromkeys(("compute", "read", "write", "merge"), 0.0)
        for stage in mine:
            stored, requests = "write" in stage.units, stage.units.get("request", 0)
            if number == 0 and stored:
                requests /= 2
            if number == 0:
                totals["compute"] += stage.calls * work.compute_seconds
                totals["read"] += stage.calls * truth.seconds(
                    {"request": requests, "read": stage.units.get("read", 0.0)}
                )
            else:
                names = ("fetch", "fetch_byte", "child", "child_byte", "inline")
                totals["merge"] += stage.calls * truth.seconds(
                    {name: stage.units.get(name, 0.0) for name in names}
                )
            if stored:
                totals["write"] += stage.calls * truth.seconds(
                    {"request": requests, "write": stage.units["write"]}
                )
        levels.append(
            LevelTime(
                sum(stage.calls for stage in mine),
                sum(stage.calls * stage.seconds for stage in mine),
                max(stage.seconds for stage in mine),
                totals,
            )
        )
    return Measurement(work, tree, shards, model.predict(tree, shards, AWS_LAMBDA).seconds, levels)


def test_steps_with_inline_contributions_are_predicted_learnt_from_and_take_fewer_requests() -> None:
    truth = KNATIVE.changed("truth", {"call": 9e-3, "level": 6e-3, "request": 8e-3})
    stored = Work(workers=16, parameters=42_601, compute_seconds=0.01)
    inline = replace(stored, request_bytes=REQUEST)
    tree = (1, 4, 16)
    model = CostModel(inline, truth)
    assert all("write" not in stage.units for stage in model.stages(tree, 1) if stage.name != "root")
    assert seconds(inline, truth, tree) < seconds(stored, truth, tree) - 2 * truth.request
    step = measured(inline, truth, tree)
    found = calibration.learn(step, KNATIVE)
    assert seconds(inline, found, tree) == pytest.approx(step.seconds, rel=0.02)
    assert found.call == pytest.approx(truth.call, rel=0.1)
    assert found.inline_byte == KNATIVE.inline_byte


def test_a_version_inside_answers_and_requests_spares_a_far_store_and_is_learnt_from() -> None:
    truth = KNATIVE.changed("truth", {"call": 9e-3, "request": 8e-3})
    stored = Work(workers=4, parameters=42_601, compute_seconds=0.01, slots=1)
    small = replace(stored, request_bytes=REQUEST, remote=True)
    (workers, root) = CostModel(small, truth).stages((1, 4), 1)
    assert {"request", "read", "write"}.isdisjoint(workers.units)
    assert {"request", "read", "write"}.isdisjoint(root.units)
    assert workers.units["inline_byte"] == 2 * 4 * 42_601, "parameters and a contribution"
    assert root.units["inline_byte"] == (4 + 2) * 4 * 42_601, "contributions, parameters and optimiser state"
    # A worker's read and its contribution, and the root's two objects, are waited for no more; their bytes take 3 ms.
    assert seconds(small, truth, (1, 4)) < seconds(stored, truth, (1, 4)) - 3.5 * truth.request
    step = measured(small, truth, (1, 4))
    found = calibration.learn(step, KNATIVE)
    assert seconds(small, found, (1, 4)) == pytest.approx(step.seconds, rel=0.02)
    near = CostModel(replace(small, remote=False), LOCAL_DIRECTORY).stages((1, 4), 1)
    assert all("request" in stage.units for stage in near), "a store on the same disk is faster than a copy"


def test_contributions_that_are_too_large_go_by_the_store() -> None:
    work = Work(workers=16, parameters=1_000_000, compute_seconds=0.01)
    assert seconds(replace(work, request_bytes=REQUEST), KNATIVE, (1, 4, 16)) == seconds(
        work, KNATIVE, (1, 4, 16)
    )


def regret(parameters: int, workers: int, truth: Constants, learn: Callable[..., Constants]) -> float:
    """What the tree takes that is chosen from the steps of the first one, over the best one's seconds."""
    work = Work(workers=workers, parameters=parameters, compute_seconds=0.2, merger_memory=1 << 34)
    shards = search.feasible_shards(work, 8)

    def best(constants: Constants) -> Candidate:
        return search.search(work, constants, AWS_LAMBDA, shards=shards)[0]

    def takes(one: Candidate) -> float:
        return CostModel(work, truth).predict(one.structure, one.shards, AWS_LAMBDA).seconds

    first = best(LOCAL_MINIO)
    chosen = best(learn(measured(work, truth, first.structure, first.shards)))
    return takes(chosen) / takes(best(truth))


SIZES = [(250, 32), (42_601, 32), (2_500_000, 8), (25_000_000, 4), (42_601, 100)]


@pytest.mark.parametrize(("latency", "bandwidth"), [(0.2, 25e6), (0.02, 50e6), (0.1, 10e6)])
@pytest.mark.parametrize(("parameters", "workers"), SIZES)
def test_a_far_store_is_learned_from_the_steps_of_one_tree(
    parameters: int, workers: int, latency: float, bandwidth: float
) -> None:
    truth = at_a_distance(latency, bandwidth)
    assert regret(parameters, workers, truth, lambda one: calibration.learn(one, LOCAL_MINIO)) <= 1.05


def at_a_distance(latency: float, bandwidth: float) -> Constants:
    byte = 1 / bandwidth
    far = {
        "request": latency,
        "fetch": latency,
        "read": byte,
        "write": byte,
        "fetch_byte": byte,
        "child_byte": 1e-9,
    }
    return LOCAL_MINIO.changed("truth", far)


def test_how_long_children_take_to_arrive_is_learned_where_nothing_else_tells() -> None:
    # Parameters come from near, as in an instance's memory; children are from a store far away.
    truth = LOCAL_MINIO.changed("truth", {"fetch": 0.2})
    work = Work(workers=16, parameters=42_601, compute_seconds=0.01)
    step = measured(work, truth, (1, 16))
    assert calibration.learn(step, LOCAL_MINIO).fetch < 1e-6
    told = replace(step, levels=[step.levels[0], replace(step.levels[1], child_latency=0.2 + truth.child)])
    found = calibration.learn(told, LOCAL_MINIO)
    assert found.fetch == pytest.approx(truth.fetch, rel=0.05)
    for tree in [(1, 16), (1, 4, 16), (1, 2, 16), (1, 4, 8, 16)]:
        assert seconds(work, found, tree) == pytest.approx(seconds(work, truth, tree), rel=0.05)


def test_a_near_store_s_answer_is_no_distance() -> None:
    work = Work(workers=16, parameters=42_601, compute_seconds=0.01)
    step = measured(work, LOCAL_MINIO, (1, 16))
    told = replace(step, levels=[step.levels[0], replace(step.levels[1], child_latency=0.9e-3)])
    assert calibration.learn(told, LOCAL_MINIO).fetch == 0


def test_where_parts_are_all_alike_learning_is_not_exact_but_better_than_fitting() -> None:
    # Of 6 shards of 2 MB, requests and their bytes cannot be told apart.
    truth = at_a_distance(0.02, 50e6)
    learned = regret(3_000_000, 64, truth, lambda one: calibration.learn(one, LOCAL_MINIO))
    fitted = regret(3_000_000, 64, truth, lambda one: calibration.fit([one], LOCAL_MINIO))
    assert learned < 1.5 < fitted


def test_a_store_that_is_near_is_not_taken_for_a_far_one() -> None:
    truth = LOCAL_MINIO.changed("truth", {"child": 3e-3, "write": 9e-9, "call": 5e-3})
    for parameters, workers in SIZES:
        assert regret(parameters, workers, truth, lambda one: calibration.learn(one, LOCAL_MINIO)) <= 1.05


def test_the_parts_of_one_step_tell_apart_what_the_step_alone_does_not() -> None:
    truth = KNATIVE.changed("truth", {"child": 5 * KNATIVE.child, "write": 9 * KNATIVE.write, "call": 0.02})
    work, tree = HEAVY, (1, 4, 16)
    one = measured(work, truth, tree)
    assert one.levels[0].compute_seconds == pytest.approx(work.compute_seconds)
    found, blind = calibration.fit([one], KNATIVE), calibration.fit([replace(one, levels=())], KNATIVE)
    for other in [(1, 16), (1, 2, 16), (1, 2, 6, 16)]:
        wanted = seconds(work, truth, other)
        assert seconds(work, found, other) == pytest.approx(wanted, rel=0.02)
    assert seconds(work, blind, (1, 16)) != pytest.approx(seconds(work, truth, (1, 16)), rel=0.02)
    assert found.write == pytest.approx(truth.write, rel=0.02)
    assert found.call == pytest.approx(0.02, rel=0.05)


def test_a_far_store_s_constants_are_found_again() -> None:
    truth = FAR.changed("truth", {"fetch": 0.11, "request": 0.13, "child": 4e-3})
    found = calibration.fit(measurements(truth), FAR)
    for name in ("fetch", "request"):
        assert getattr(found, name) == pytest.approx(getattr(truth, name), rel=0.02)


def test_the_stronger_the_pull_the_nearer_constants_stay_to_what_they_were() -> None:
    one = [Measurement(LIGHT, (1, 16), 1, 1.5 * seconds(LIGHT, FAR, (1, 16)))]
    loose, tight = (calibration.fit(one, FAR, pull=pull) for pull in (1e-3, 10.0))
    assert seconds(LIGHT, loose, (1, 16)) == pytest.approx(one[0].seconds, rel=1e-3)
    assert tight.fetch == pytest.approx(FAR.fetch, rel=0.01)


def test_constants_that_measurements_say_nothing_of_stay() -> None:
    one = [Measurement(LIGHT, (1, 16), 1, 1.1 * seconds(LIGHT, KNATIVE, (1, 16)))]
    found = calibration.fit(one, KNATIVE)
    assert seconds(LIGHT, found, (1, 16)) == pytest.approx(one[0].seconds, rel=1e-3)
    assert found.child_byte == pytest.approx(KNATIVE.child_byte, rel=0.2)
    assert found.flop == KNATIVE.flop


def test_no_fitted_constant_is_negative() -> None:
    fast = [Measurement(LIGHT, tree, 1, 1e-4) for tree in [(1, 16), (1, 4, 16)]]
    found = calibration.fit(fast, KNATIVE)
    assert all(getattr(found, name) >= 0 for name in ("step", "call", "request", "child"))
