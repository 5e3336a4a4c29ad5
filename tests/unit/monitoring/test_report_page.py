"""The report's page: what it shows of which facts, and that it stands alone."""

import math
import re
from collections.abc import Collection
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from helpers.jobs import tiny_job
from hypothesis import given
from hypothesis import strategies as st

from sapflow.messages.vectors import Sizes
from sapflow.monitoring.report import charts, elements, events, render
from sapflow.monitoring.report.facts import Facts, Predicted
from sapflow.monitoring.report.history import History
from sapflow.monitoring.report.homes import UNKNOWN
from sapflow.monitoring.report.reduction import Bars
from sapflow.records.commits import Account, Commit, Cursor, Forecast, LevelUsage, Measured, Plan
from sapflow.records.memory_search import SizeSearch, SizeTrial


def commit(
    version: int,
    *,
    cold: int = 0,
    retries: int = 0,
    failures: dict[str, int] | None = None,
    **changes: Any,
) -> Commit:
    levels = [
        LevelUsage(calls=4, seconds=0.4, slowest=0.12, bytes_read=4_000, bytes_written=8_000),
        LevelUsage(calls=2, seconds=0.04, slowest=0.03, bytes_read=8_000, bytes_written=4_000),
        LevelUsage(calls=1, seconds=0.05, slowest=0.05, bytes_read=6_000, bytes_written=2_000),
    ]
    measured = Measured(
        loss=1 / (version + 1),
        accuracy=1 - 1 / (version + 2),
        seconds=0.25,
        phases={"compute": 0.3, "read": 0.1, "hum": 0.05},
        peak_memory_bytes={"worker": 100 << 20, "merger": 50 << 20},
        levels=levels if version else [],
    )
    account = Account(
        seconds=0.25 * version + cold,
        cost_usd=0.001 * version,
        invocations=7 * version,
        cold_starts=cold,
        retries=retries,
        failures=failures,
    )
    body: dict[str, Any] = {
        "version": version,
        "id": "id",
        "previous": "",
        "plan": "plan",
        "sizes": Sizes(parameters=1000, averaged=0, block=1000),
        "slots": [],
        "params": [],
        "optimizer": [],
        "cursor": Cursor(),
        "account": account,
        "measured": measured if version else Measured(),
    }
    return Commit(**(body | changes))


def versions() -> list[Commit]:
    return [commit(version, cold=5 if version < 9 else 6, retries=version // 10) for version in range(1, 21)]


EVALUATIONS = {10: {"loss": 0.3, "accuracy": 0.8}, 20: {"loss": 0.2, "accuracy": 0.9}}


def facts(
    *,
    start: Commit | None = None,
    commits: list[Commit] | None = None,
    evaluations: dict[int, dict[str, float]] = EVALUATIONS,
    checkpoints: Collection[int] = (20,),
    **changes: Any,
) -> Facts:
    every = [start or commit(0, cold=5), *(versions() if commits is None else commits)]
    outcome = {
        "version": 20,
        "uri": "file:///there/model.safetensors",
        "sha256": "ab12",
        "validationAccuracy": 0.9,
        "account": Account(seconds=12, cost_usd=0.5, invocations=150).body(),
    }
    history = History(len(every), every[-1].plan, evaluated=len(evaluations))
    for each in every:
        history.take(each, evaluations.get(each.version), is_checkpoint=each.version in checkpoints)
    made = Facts(
        uid="tiny-1a2b3c4d",
        job=tiny_job(workers=4, merge_structure=[1, 2, 4]),
        state="Succeeded",
        history=history,
        plan=Plan(structure=(1, 2, 4), shards=1),
        outcome=outcome,
        predicted=Predicted(0.2, 0.001, (0.1, 0.03, 0.04)),
    )
    return replace(made, **changes)


def searched(size: int, step: int) -> Measured:
    """What a commit holds of a job whose workers' size changes."""
    trials = [SizeTrial(size=512, seconds=0.25, cost_usd=0.001, error=0.05, step=9)]
    return Measured(
        seconds=0.25,
        peak_memory_bytes={"worker": 100 << 20},
        memory_limits={"worker": [size << 20]},
        search=SizeSearch(size=768, least=305, trials=trials, done=step > 15),
    )


def test_a_search_for_memory_shows_its_sizes_over_steps_and_what_it_tried() -> None:
    commits = [commit(each, measured=searched(512 if each < 10 else 768, each)) for each in range(1, 21)]
    page = render(facts(commits=commits))
    text = " ".join(Elements(page).text)
    assert "limit of a worker" in text
    assert "The search for the workers' memory wants 768Mi. It has ended." in text
    assert "512Mi" in text
    (drawn,) = re.findall(r'<polyline class="line s3" points="([^"]+)"', page)
    heights = [point.split(",")[1] for point in drawn.split()]
    assert len(set(heights)) == 2


class Elements(HTMLParser):
    """Checks that elements nest, and collects them."""

    VOID = frozenset({"meta", "line", "circle", "rect", "polyline"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def of(self, kind: str) -> list[dict[str, str | None]]:
        return [each for _, each in self.found if kind in (each.get("class") or "").split()]


def test_shows_every_section_with_its_chart() -> None:
    page = render(facts())
    elements = Elements(page)
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    assert headings == [
        "Learning",
        "Where the time of a step goes",
        "Merge tree",
        "Prediction beside measurement",
        "Memory and cost",
        "Faults and starts",
        "Spec",
    ]
    labels = [each["aria-label"] for tag, each in elements.found if tag == "svg"]
    assert labels == [
        "loss against time",
        "loss against dollars",
        "accuracy against time",
        "accuracy against dollars",
        "function seconds by step",
        "seconds against step",
        "merge tree [1, 2, 4]",
        "peak memory, MiB against step",
        "dollars against step",
        "events by time",
    ]


def test_draws_every_metric_with_the_target_of_the_one_that_has_it() -> None:
    job = tiny_job(algorithm_target={"metric": "r2", "value": 0.75})
    evaluations = {10: {"loss": 0.3, "r2": 0.5, "mae": 2.0}, 20: {"loss": math.nan, "r2": 0.7}}
    commits = [
        each.model_copy(update={"measured": each.measured.model_copy(update={"accuracy": None})})
        for each in versions()
    ]
    page = render(facts(job=job, evaluations=evaluations, commits=commits, outcome=None))
    labels = [each["aria-label"] for tag, each in Elements(page).found if tag == "svg"]
    assert labels[:6:2] == ["loss against time", "R² against time", "MAE against time"]
    assert labels[1:6:2] == ["loss against dollars", "R² against dollars", "MAE against dollars"]
    assert ">target<" in page
    assert "<dt>validation R²</dt><dd>0.7000</dd>" in page


def test_says_why_a_version_is_the_result() -> None:
    outcome = {
        "version": 9, "uri": "file:///m", "sha256": "ab", "account": {}, "chosenBy": "Best", "targetReached": False,
        "validationLoss": 0.25, "validationMetrics": {"macroF1": 0.5},
    }  # fmt: skip
    page = render(replace(facts(), outcome=outcome))
    assert "version 9, the best that was evaluated" in page
    assert "<dt>validation macro F1</dt><dd>50.00 %</dd>" in page


def test_shows_the_cells_of_a_placed_job_by_node_and_what_passed_through_the_store() -> None:
    plan = Plan(structure=(1, 2, 4), shards=1, cells=((0, 0, 1, 1), (0, 1), (0,)))
    nodes = [{0: "node-a", 1: "node-b"}] * 8 + [{0: "node-a", 1: "node-a"}] * 12
    commits = [
        each.model_copy(
            update={
                "measured": each.measured.model_copy(
                    update={"nodes": where, "store_read": 2_000, "store_written": 1_000}
                )
            }
        )
        for each, where in zip(versions(), nodes, strict=True)
    ]
    page = render(facts(plan=plan, commits=commits))
    text = " ".join(Elements(page).text)
    assert "Placement by node" in text
    assert "2 cells: 1 of 6 edges" in text
    assert "node-b, from step 9 node-a" in text
    assert "predicted" in page
    assert "Placement by node" not in render(facts())


def test_a_local_jobs_cells_are_on_no_node_that_is_known() -> None:
    plan = Plan(structure=(1, 4), shards=1, cells=((0, 0, 1, 1), (0,)))
    assert UNKNOWN in " ".join(Elements(render(facts(plan=plan))).text)


def test_asks_for_nothing_from_anywhere() -> None:
    page = render(facts())
    attributes = {name for _, attributes in Elements(page).found for name in attributes}
    assert not attributes & {"src", "href", "srcset", "data", "action", "xlink:href"}
    assert not re.search(r"(url\(|@import|<script|<link)", page)
    assert "default-src 'none'" in page


def test_draws_one_node_for_each_function_and_an_edge_to_its_parent() -> None:
    elements = Elements(render(facts()))
    assert [len(elements.of(kind)) for kind in ("root", "merger", "worker")] == [1, 2, 4]
    assert len(elements.of("edge")) == 6


def test_says_bytes_and_seconds_of_each_level() -> None:
    text = " ".join(Elements(render(facts())).text)
    assert "2.0 KiB each 7.8 KiB in all" in text
    assert "4 workers 100 ms a call" in text
    assert "An edge is" not in text


def merging(*seconds: float) -> dict[str, Any]:
    """Commits whose mergers and root read and added their children in so many seconds, all of a level together."""
    made = versions()
    levels = [
        usage.model_copy(update={"phases": {"merge": each} if each else {"read": 0.01}})
        for usage, each in zip(made[0].measured.levels, (0.0, *seconds), strict=True)
    ]
    return {
        "commits": [
            each.model_copy(update={"measured": each.measured.model_copy(update={"levels": levels})})
            for each in made
        ]
    }


def test_an_edge_has_the_seconds_in_which_one_child_is_read_and_added() -> None:
    text = " ".join(Elements(render(facts(**merging(0.02, 0.03)))).text)
    assert "2.0 KiB, 5 ms each 7.8 KiB in all" in text
    assert "2.0 KiB, 15 ms each 3.9 KiB in all" in text
    assert "An edge is what one child wrote" in text


def test_an_edge_has_no_seconds_where_the_commits_have_none_of_it() -> None:
    text = " ".join(Elements(render(facts(**merging(0.0, 0.03)))).text)
    assert "2.0 KiB each 7.8 KiB in all" in text
    assert "2.0 KiB, 15 ms each" in text


def test_calls_of_several_shards_are_of_one_edge() -> None:
    changes = merging(0.02, 0.03)
    for each in changes["commits"]:
        each.measured.levels[1] = each.measured.levels[1].model_copy(update={"calls": 6})
    text = " ".join(Elements(render(facts(**changes, plan=Plan(structure=(1, 2, 4), shards=3)))).text)
    assert "2.0 KiB, 15 ms each 3.9 KiB in all" in text


@pytest.mark.parametrize("structure", [(1, 2, 4), (1, 1_000), (1, 40, 1_000, 100_000)])
def test_what_is_said_of_a_tree_stands_beside_it(structure: tuple[int, ...]) -> None:
    said = [[""] * 2] * len(structure)
    elements = Elements(charts.tree(structure, said, said))
    drawn = [float(each[side] or 0) for each in elements.of("edge") for side in ("x1", "x2")]
    texts = {each["x"] for tag, each in elements.found if tag == "text"}
    assert texts == {"8"}
    assert min(drawn) > 170


def test_puts_the_prediction_beside_the_steps_in_which_nothing_was_started() -> None:
    page = render(facts())
    assert "<td>seconds a step</td><td>200 ms</td><td>250 ms</td><td>1.25 ×</td>" in page
    assert "<td>slowest call: workers</td><td>100 ms</td><td>120 ms</td><td>1.20 ×</td>" in page


def forecast(seconds: float, dollars: float, steps: int) -> Forecast:
    return Forecast(seconds_per_step=seconds, dollars_per_step=dollars, steps=steps, constants="a table")


def test_a_finished_job_says_how_far_its_forecast_was_off() -> None:
    made = facts(start=commit(0, cold=5, forecast=forecast(0.2, 0.002, 20)))
    assert made.outcome is not None
    said = {"seconds": 4.0, "costUSD": 0.04, "secondsError": -0.25, "costError": 1.0}
    page = render(replace(made, outcome={**made.outcome, "forecast": said}))
    text = " ".join(Elements(page).text)
    assert "Forecast before the first step: 4.0 s and $0.0400 for 20 steps, from a table." in text
    assert "For the 20 steps taken: 4.0 s and $0.0400: 25 % too little of time" in text
    assert "100 % too much of cost" in text


@pytest.mark.parametrize(
    ("state", "failure"),
    [("Failed", {"reason": "DeadlineExceeded", "message": "late"}), ("Unfinished", None)],
)
def test_a_job_that_was_stopped_says_how_far_its_forecast_was_off_so_far(
    state: str, failure: dict[str, Any] | None
) -> None:
    start = commit(0, cold=5, forecast=forecast(0.2, 0.002, 80))
    commits = [commit(version, cold=5) for version in range(1, 21)]
    made = facts(start=start, commits=commits, state=state, failure=failure, outcome=None, predicted=None)
    page = render(made)
    assert "16.0 s and $0.160 for 80 steps" in page
    assert "For the 20 steps taken so far: 4.0 s and $0.0400: 20 % too little of time" in page
    row = ["before the first step", "20", "200 ms", "250 ms", "20 % too little"]
    row += ["$0.00200", "$0.00100", "100 % too much"]
    assert "".join(f"<td>{each}</td>" for each in row) in page


def test_each_plan_has_its_own_forecast_beside_the_steps_that_followed_it() -> None:
    start = commit(0, plan="older", forecast=forecast(0.1, 0.001, 20))
    commits = [commit(version, plan="older" if version < 12 else "plan") for version in range(1, 21)]
    commits[11] = commits[11].model_copy(update={"forecast": forecast(0.5, 0.001, 8)})
    page = render(facts(start=start, commits=commits))
    assert (
        "<td>before the first step</td><td>12</td><td>100 ms</td><td>250 ms</td><td>60 % too little</td>"
        in page
    )
    assert (
        "<td>re-planned after version 12</td><td>8</td><td>500 ms</td><td>250 ms</td><td>100 % too much</td>"
        in page
    )


def test_a_job_that_stopped_before_its_first_step_has_its_forecast_and_no_error() -> None:
    start = commit(0, forecast=forecast(0.2, 0.002, 80))
    page = render(
        facts(start=start, commits=[], evaluations={}, checkpoints=[], outcome=None, state="Unfinished")
    )
    assert "16.0 s and $0.160 for 80 steps" in page
    assert "<td>0</td><td>200 ms</td><td>–</td><td>–</td>" in page


def test_a_job_of_which_nothing_was_forecast_shows_no_forecast() -> None:
    assert "Forecast" not in render(facts())


def test_says_why_there_is_no_prediction() -> None:
    page = render(facts(predicted=None, not_predicted="the cost model covers synchronous steps only"))
    assert "No prediction: the cost model covers synchronous steps only." in page


def test_a_phase_that_it_does_not_know_is_shown_as_other() -> None:
    titles = [text for text in Elements(render(facts())).text if text.startswith("other: 50 ms")]
    assert len(titles) == 20


def test_marks_starts_retries_and_checkpoints_when_they_happened() -> None:
    text = Elements(render(facts())).text
    assert any(each.startswith("1 × cold start before version 9,") for each in text)
    assert any(each.startswith("1 × retry before version 10,") for each in text)
    assert any(each.startswith("checkpoint of version 20,") for each in text)


def test_says_why_calls_were_repeated_steps_made_anew_and_drivers_replaced() -> None:
    told = {
        12: Measured(seconds=0.25, remade={"CellLost": 2}),
        14: Measured(seconds=0.25, resumed="Interrupted"),
        16: Measured(seconds=0.25, resumed="OutOfMemory"),
    }
    commits = [
        commit(
            version,
            retries=3 * (version >= 10),
            failures={"CellLost": 1} | ({"InstanceLost": 2, "OutOfMemory": 1} if version >= 10 else {}),
            measured=told.get(version, Measured(seconds=0.25)),
        )
        for version in range(1, 21)
    ]
    made = facts(commits=commits, start=commit(0))
    assert marked(made, "retry") == [
        (2.5, "3 × retry (2 × InstanceLost, 1 × OutOfMemory) before version 10, 2.5 s")
    ]
    assert marked(made, "step made anew") == [(3.0, "step 12 was made anew (2 × CellLost), 3.0 s")]
    assert marked(made, "new driver") == [
        (3.5, "a new driver made version 14, 3.5 s; the one before stopped: Interrupted"),
        (4.0, "a new driver made version 16, 4.0 s; the one before stopped: OutOfMemory"),
    ]
    page = render(made)
    assert "new driver" in page
    assert "new driver" not in render(facts())


def marked(made: Facts, row: str) -> list[tuple[float, str]]:
    return [(mark.at, mark.text) for mark in events.marks(made) if mark.row == row]


def test_marks_a_cell_that_moved_when_its_node_changed() -> None:
    nodes = [{0: "node-a", 1: "node-b"}] * 8 + [{0: "node-a"}] + [{0: "node-a", 1: "node-c"}] * 11
    commits = [
        commit(version, measured=Measured(seconds=0.25, nodes=where))
        for version, where in enumerate(nodes, start=1)
    ]
    made = facts(commits=commits, start=commit(0))
    assert marked(made, "cell moved") == [(2.5, "cell 1 on node-c from step 10, on node-b before, 2.5 s")]
    assert "cell moved" in render(made)
    assert "cell moved" not in render(facts())


def test_marks_a_change_of_the_workers_memory_as_wanted_and_as_found() -> None:
    limits = [[512], [512], [512, 768], [], [768]]
    wanted = [512, 768, 768, 768, 768]
    commits = [
        commit(
            version,
            measured=Measured(
                seconds=0.25,
                memory_limits={"worker": [each << 20 for each in sizes]} if sizes else {},
                search=SizeSearch(size=size, least=305),
            ),
        )
        for version, (sizes, size) in enumerate(zip(limits, wanted, strict=True), start=1)
    ]
    made = facts(commits=commits, evaluations={}, checkpoints=[], outcome=None)
    assert [text for _, text in marked(made, "memory size")] == [
        "the search wants 768Mi for workers after version 2, 500 ms",
        "workers have 512Mi and 768Mi from step 3, 512Mi before, 750 ms",
        "workers have 768Mi from step 5, 512Mi and 768Mi before, 1.2 s",
    ]
    assert "memory size" in render(made)
    assert "memory size" not in render(facts())


@pytest.mark.parametrize(
    ("reason", "row"),
    [("DeadlineExceeded", "limit reached"), ("BudgetExceeded", "limit reached"), ("OutOfMemory", "failure")],
)
def test_marks_the_end_of_a_job_that_failed_or_reached_a_limit(reason: str, row: str) -> None:
    failure = {"reason": reason, "message": "it did", "version": 20}
    made = facts(state="Failed", outcome=None, failure=failure)
    assert marked(made, row) == [(11.0, f"{reason} after version 20, 11.0 s")]
    rows = [text for text in Elements(render(made)).text if text in ("limit reached", "failure")]
    assert rows == [row]


def test_names_what_a_failed_job_failed_of() -> None:
    failure = {"reason": "BudgetExceeded", "message": "spent <all> of it"}
    page = render(facts(state="Failed", outcome=None, failure=failure))
    assert "<b>BudgetExceeded</b> spent &lt;all&gt; of it" in page


def test_what_others_wrote_stays_text() -> None:
    hostile = tiny_job(data_source="/data/<script>alert(1)</script>.npz")
    page = render(facts(job=hostile))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_a_job_with_nothing_but_its_first_version_has_a_page() -> None:
    Elements(render(facts(commits=[], evaluations={}, outcome=None, state="Unfinished", checkpoints=[])))


def test_commits_of_drivers_that_counted_no_levels_are_said_to_be_such() -> None:
    old = [commit(version, measured=Measured(loss=1.0, seconds=0.1)) for version in range(1, 5)]
    page = render(facts(commits=old, evaluations={}))
    Elements(page)
    assert "Calls were not counted by level" in page


def test_a_wide_tree_is_drawn_in_part_and_says_so() -> None:
    page = render(facts(plan=Plan(structure=(1, 5, 22, 100), shards=1)))
    elements = Elements(page)
    assert [len(elements.of(kind)) for kind in ("root", "merger", "worker")] == [1, 5 + 16, 16]
    assert "of 100" in page


@given(low=st.floats(-1e9, 1e9), span=st.floats(1e-6, 1e9))
def test_ticks_lie_within_and_are_few(low: float, span: float) -> None:
    found = charts.ticks(low, low + span)
    slack = 1e-6 * (abs(low) + span)
    assert len(found) <= 7
    assert all(low - slack <= each <= low + span + slack for each in found)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=2_000))
def test_a_long_line_is_thinned_to_points_of_its_own_with_both_ends_and_the_extremes(
    values: list[float],
) -> None:
    points = [(float(index), value) for index, value in enumerate(values)]
    thin = charts.thinned(points)
    assert len(thin) <= 242
    assert thin == sorted(thin, key=lambda point: point[0])
    assert {*thin} <= {*points}
    assert (thin[0], thin[-1]) == (points[0], points[-1])
    assert {min(values), max(values)} <= {value for _, value in thin}


@pytest.mark.parametrize("number", [1, 59, 61, 1_000])
def test_bars_share_the_steps_among_them(number: int) -> None:
    columns = [(float(step), {"compute": 1.0}) for step in range(1, number + 1)]
    form = "{:.3g}".format
    drawn = charts.stacked(Bars.of(columns), {"compute": "s1"}, x="step", y="s", x_format=form, y_format=form)
    assert drawn.count("<rect") == min(number, 60)
    assert drawn.count("compute: 1,") == min(number, 60)


@pytest.mark.parametrize(("first", "cut"), [(2.5, False), (30.0, True)])
def test_a_cold_step_does_not_flatten_the_others(first: float, cut: bool) -> None:
    form = "{:.3g} s".format
    heights = [first, *([1.0] * 39)]
    columns = [(float(step), {"compute": height}) for step, height in enumerate(heights, 1)]
    drawn = charts.stacked(Bars.of(columns), {"compute": "s1"}, x="step", y="s", x_format=form, y_format=form)
    points = [(float(step), height) for step, height in enumerate(heights, 1)]
    line = charts.lines(
        [charts.Line("a", "s1", points)], x="step", y="s", x_format=form, y_format=form, few_cut=True
    )
    assert ("up to 30 s" in drawn, "up to 30 s" in line) == (cut, cut)
    tallest = [float(each) for each in re.findall(r'<rect [^>]*height="([\d.]+)"', drawn)]
    assert max(tallest) / tallest[-1] == pytest.approx(1.25 if cut else first, rel=1e-3)


def test_the_bill_at_the_top_is_the_whole_one() -> None:
    shown = Elements(render(facts())).text
    assert [shown[shown.index(label) + 1] for label in ("cost", "invocations")] == ["$0.500", "150"]


def test_a_typical_step_is_one_by_the_last_plan_and_the_change_is_an_event() -> None:
    made = versions()
    old = [each.model_copy(update={"plan": "older"}) for each in made[:12]]
    slow = [
        each.model_copy(
            update={
                "measured": each.measured.model_copy(update={"levels": [LevelUsage(calls=9, seconds=9.0)]})
            }
        )
        for each in old
    ]
    start = commit(0, cold=5, plan="older")
    changed = facts(start=start, commits=[*slow, *made[12:]])
    assert [each.version for each in changed.warm] == list(range(14, 21))
    assert [usage.calls for usage in changed.levels] == [4, 2, 1]
    assert "planned anew after version 13" in render(changed)
    assert "planned anew" not in render(facts())


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0, "$0"), (2.5, "$2.5"), (1.5e-5, "15 µ$"), (2.5e-4, "250 µ$"), (1e-3, "$0.001")],
)
def test_dollars_on_an_axis_are_short_and_no_power_of_ten(value: float, said: str) -> None:
    assert elements.money(value) == said


def test_what_steps_read_of_the_data_is_told_where_it_was_counted() -> None:
    assert "Data: the workers" not in render(facts())
    measured = Measured(
        seconds=0.25, phases={"compute": 0.3, "data": 0.5}, data_bytes=10 << 20, data_seconds=0.75
    )
    page = render(facts(commits=[commit(version, measured=measured) for version in range(1, 21)]))
    assert "read 10.0 MiB of blocks from the store in 750 ms, and waited 500 ms for their samples" in page
    assert "the steps so far read 200.0 MiB" in page
    assert '<span class="key s9">data</span>' in page


@pytest.mark.parametrize("letters", [10, 36, 80])
def test_long_lines_beside_a_tree_touch_none_of_its_edges(letters: int) -> None:
    said = [["x" * letters] for _ in range(3)]
    elements = Elements(charts.tree((1, 2, 4), said, said))
    drawn = [float(each[side] or 0) for each in elements.of("edge") for side in ("x1", "x2")]
    # Half of the figure is the tree's in any case.
    assert min(drawn) > min(8 + 6 * letters, charts.WIDTH / 2)
    assert max(drawn) < charts.WIDTH


def test_the_reason_of_the_last_driver_is_told_where_no_step_was_left() -> None:
    made = facts()
    assert made.outcome is not None
    page = render(replace(made, outcome={**made.outcome, "resumed": "StoreUnavailable"}))
    assert "a new driver ended the job" in page
    assert "the one before stopped: StoreUnavailable" in page
