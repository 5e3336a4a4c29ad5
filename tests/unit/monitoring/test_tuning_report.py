"""The report of a search: what its page and its figures show of which log; that it stands alone, and is small."""

import asyncio
import base64
import gzip
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from helpers.reported_search import (
    BEGAN,
    HIDDEN,
    HOSTILE,
    MOMENTUM,
    PARAMETERS,
    RATE,
    entries_of,
    facts_of,
    limits,
    reported,
)
from helpers.searches import search_document, search_job

from sapflow.errors import DataError
from sapflow.monitoring.tuning_report import gather, interactive, render, use
from sapflow.monitoring.tuning_report.active_time import ActiveTime
from sapflow.monitoring.tuning_report.axes import ABSENT, ParameterAxis
from sapflow.monitoring.tuning_report.figures import value_axis, worst_shown
from sapflow.monitoring.tuning_report.importance import importance
from sapflow.monitoring.tuning_report.page import MOST_BYTES
from sapflow.monitoring.tuning_report.selection import evenly, room, select
from sapflow.objects.stores.directory import DirectoryStore
from sapflow.spec.parameters import ParameterSpec
from sapflow.tuning.actions import Fork, Report
from sapflow.tuning.entries import Begin, Common, Entry, Granted, Train
from sapflow.tuning.log import Log
from sapflow.tuning.settings import Limits, Objective
from sapflow.tuning.usage import Usage

COLUMN = re.compile(r'<script type="application/gzip" id="data">([^<]*)</script>')


def figures(page: str) -> tuple[list[list[Any]], list[dict[str, Any]]]:
    """The columns and the figures of a page."""
    found = COLUMN.search(page)
    assert found is not None
    body = json.loads(gzip.decompress(base64.b64decode(found[1])))
    return body["columns"], body["figures"]


def texts(value: object) -> Iterator[str]:
    """All texts in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from texts(each)


class Elements(HTMLParser):
    """The elements of a page, and its text outside of scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if not self.found or self.found[-1][0] not in ("script", "style"):
            self.text.append(data)


@pytest.fixture(scope="module")
def page() -> str:
    return render(reported(60))


def test_the_page_shows_every_part_of_a_search_with_its_best_trials_first(page: str) -> None:
    for title in (
        "Best trials", "History", "Values on the way", "Parameters", "Failed trials", "Dollars", "Calls in flight",
    ):  # fmt: skip
        assert f"<h2>{title}</h2>" in page
    for title in (
        "Parallel coordinates",
        "Importance of parameters",
        "accuracy by learningRate",
        "Dollars by trial",
    ):
        assert f"<h3>{title}</h3>" in page
    order = [trial.number for trial in reported(60).ranked[:20]]
    table = page[page.index("<h2>Best trials</h2>") : page.index("<h2>History</h2>")]
    assert [int(each) for each in re.findall(r"<tr><td>(\d+)</td>", table)] == order
    assert "Completed" in page
    assert "file:///there/model.safetensors" in page


def test_the_page_stands_alone_and_runs_no_script_but_its_own(page: str) -> None:
    elements = Elements(page).found
    for _, attributes in elements:
        assert not {"src", "href", "srcset", "action", "data"} & attributes.keys()
        assert not any(name.startswith("on") for name in attributes)
    policy = next(each["content"] for tag, each in elements if tag == "meta" and each.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    scripts = policy.partition("script-src ")[2].split()
    assert len([each for each in scripts if each.startswith("'sha256-")]) == 2
    assert "'unsafe-inline'" not in scripts
    assert page.endswith("</html>\n")


def test_a_parameters_text_is_text_wherever_it_is_shown(page: str) -> None:
    assert HOSTILE not in page
    assert "img" not in {tag for tag, _ in Elements(page).found}
    assert any("<img src=x" in text for text in Elements(page).text)
    assert any("<b>nan</b>" in text for text in Elements(page).text)
    columns, found = figures(page)
    shown = [text.replace("<br>", "") for text in texts([columns, [each["data"] for each in found]])]
    assert any("‹img src=x" in text for text in shown)
    assert not [text for text in shown if "<" in text and not text.startswith("%{")]


def test_every_trace_has_as_many_values_as_its_trials(page: str) -> None:
    columns, found = figures(page)
    assert len(found) == page.count('class="plot"')
    for figure in found:
        for trace in figure["data"]:
            arrays = {
                name: columns[value["column"]] if isinstance(value, dict) else value
                for name, value in trace.items()
                if name in ("x", "y", "text", "customdata") and not isinstance(value, str)
            }
            assert len({len(each) for each in arrays.values()}) <= 1
            for dimension in trace.get("dimensions", ()):
                assert len(columns[dimension["values"]["column"]]) == len(arrays["customdata"])


def test_the_best_so_far_is_that_of_all_trials_in_their_order() -> None:
    facts = reported(60)
    _, found = figures(render(facts))
    (line,) = (trace for trace in found[0]["data"] if trace["name"] == "best so far")
    best: list[tuple[int, float]] = []
    for trial in facts.trials:
        if trial.values and (not best or trial.values[0] > best[-1][1]):
            best.append((trial.number, trial.values[0]))
    assert line["x"] == [*(number for number, _ in best), 59]
    assert line["y"][:-1] == pytest.approx([value for _, value in best], rel=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_of_twenty_thousand_trials_the_page_is_small_and_says_what_it_leaves_out() -> None:
    page = render(reported(20_000))
    assert len(page.encode()) <= MOST_BYTES
    drawn = re.search(r"([\d,]+) of 20,000 trials are drawn one by one: the best", page)
    assert drawn is not None
    columns, _ = figures(page)
    assert max(map(len, columns)) <= int(drawn[1].replace(",", ""))
    assert "20,000 of 20,000" in page


def test_a_page_that_would_be_too_large_draws_fewer_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = reported(400)
    full = render(facts)
    assert "are drawn one by one" not in full
    monkeypatch.setattr("sapflow.monitoring.tuning_report.page.MOST_BYTES", len(full.encode()) - 2000)
    smaller = render(facts)
    assert len(smaller.encode()) < len(full.encode())
    assert "of 400 trials are drawn one by one" in smaller


def test_with_many_parameters_those_of_the_most_importance_are_drawn() -> None:
    paths = [f"{HIDDEN}[{layer}]" for layer in range(20)]
    widths = [{"path": path, "int": {"min": 4, "max": 64}} for path in paths]
    entries: list[Entry] = []
    for each in entries_of(60):
        if isinstance(each, Begin):
            own = {path: 4 + (each.trial * 7 + place) % 61 for place, path in enumerate(paths)}
            known = {path: value for path, value in each.parameters.items() if path != HIDDEN}
            entries.append(Begin(each.trial, {**known, **own}))
        else:
            entries.append(each)
    template = search_document()["spec"]["template"]
    template["spec"]["model"]["args"]["hidden"] = [16] * 20
    others = [each for each in PARAMETERS if each["path"] != HIDDEN]
    page = render(facts_of(entries, template=template, parameters=[*others, *widths]))
    assert "12 of 23 parameters are drawn" in page
    assert "<h3>accuracy by learningRate</h3>" in page
    assert page.count("<h3>accuracy by ") == 12


def test_two_objectives_have_a_front() -> None:
    facts = reported(60, secondObjective={"metric": "dollars", "direction": "Minimize"})
    page = render(facts)
    assert "<h2>Pareto front</h2>" in page
    columns, found = figures(page)
    (front,) = (trace for figure in found for trace in figure["data"] if trace.get("name") == "front")
    values = sorted(
        (trial.values for trial in facts.trials if trial.values), key=lambda each: (-each[0], each[1])
    )
    best, cheapest = [], float("inf")
    for accuracy, dollars in values:
        if dollars < cheapest:
            best.append((accuracy, dollars))
            cheapest = dollars
    assert columns[front["y"]["column"]] == pytest.approx([accuracy for accuracy, _ in best], rel=1e-4)
    assert "<h2>Pareto front</h2>" not in render(reported(20))


def test_a_search_at_work_and_one_that_has_failed_have_a_page() -> None:
    at_work = render(facts_of(entries_of(12, ended=None)))
    assert '<span class="state unfinished">Unfinished</span>' in at_work
    assert "This is what it has found so far" in at_work
    failed = render(facts_of(entries_of(12, ended="TooManyFailed")))
    assert '<span class="state failed">Failed</span>' in failed
    assert '<p class="failure"><b>TooManyFailed</b>' in failed


def test_a_search_whose_first_trials_run_has_a_page_without_values() -> None:
    page = render(facts_of([limits(4), Begin(0, {RATE: 0.1, HIDDEN: [16]}), Train(0, 1)]))
    assert "No trial has a value yet" in page
    assert "The log of this search has no times" in page


def test_a_search_without_a_trial_is_no_page(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no trial of s has begun yet"):
        asyncio.run(gather("s", search_job(), DirectoryStore(str(tmp_path))))


def test_a_search_in_a_store_is_read_with_its_outcome(tmp_path: Path) -> None:
    store, job = DirectoryStore(str(tmp_path)), reported(1).job
    log = Log(store, "jobs/s/")
    for entry in entries_of(12):
        assert asyncio.run(log.append([entry]))
    store.create("jobs/s/result/outcome.json", json.dumps({"trial": 3}).encode())
    facts = asyncio.run(gather("s", job, store))
    assert facts.phase == "Succeeded"
    assert facts.outcome == {"trial": 3}
    assert len(facts.trials) == 12
    assert facts.evaluated[-1].seconds == facts.time.seconds == 12.0
    assert facts.spent[-1].dollars == pytest.approx(facts.state.dollars)


@pytest.mark.parametrize("package", ["plotly.offline", "optuna"])
def test_a_missing_package_is_named_with_its_remedy(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    interactive._library.cache_clear()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DataError, match=rf"needs .*{package}.*pip install 'sapflow\[report\]'"):
        render(reported(40))


def test_the_parameter_that_decides_is_the_most_important_and_copies_do_not_count() -> None:
    entries = entries_of(60, ended=None)
    (found,) = importance(facts_of(entries))
    assert next(iter(found.shares)) == RATE
    assert found.shares[RATE] > 0.5
    assert sum(found.shares.values()) == pytest.approx(1.0)
    assert MOMENTUM in found.shares
    assert found.at == 1
    source = next(each for each in entries if isinstance(each, Report))
    copies: list[Any] = []
    for number in range(60, 90):
        copies += [
            Fork(number, source.trial, 10, 1, {RATE: 0.001, HIDDEN: [16]}),
            Train(number, 1),
            Report(number, 1, 10, {"accuracy": 1.0}),
        ]
    (again,) = importance(facts_of([*entries, *copies]))
    assert again == found


def test_the_importance_of_few_trials_is_not_told() -> None:
    assert importance(facts_of(entries_of(8))) == []
    assert "needs 10 trials" in render(facts_of(entries_of(8)))


def test_of_too_many_trials_the_best_and_an_even_part_of_the_others_are_drawn() -> None:
    facts = reported(1000)
    drawn = select(facts, 90)
    numbers = [trial.number for trial in drawn.trials]
    assert len(numbers) == 90
    assert numbers == sorted(set(numbers))
    assert {trial.number for trial in facts.ranked[:30]} <= set(numbers)
    gaps = [after - before for before, after in pairwise(numbers)]
    assert max(gaps) < 60
    assert select(facts, 1000).complete


def test_items_that_lie_evenly_have_the_first_and_the_last() -> None:
    assert evenly(range(100), 4) == [0, 33, 66, 99]
    assert evenly([1, 2], 4) == [1, 2]
    assert room(2) > room(64) >= 100


def test_running_time_leaves_out_where_no_driver_ran() -> None:
    time = ActiveTime()
    time.take(Usage(BEGAN, 0.0, 0.25, (), 0, 4))
    time.take(Usage(BEGAN + 1.5, 1.5, 1.0, (2.0, 4.0), 4, 4))
    time.take(Usage(BEGAN + 101.5, 1.0, 1.0, (1.0,), 1, 4))
    assert time.seconds == 2.5
    assert [(pause.at, pause.seconds) for pause in time.pauses] == [(1.5, 99.0)]
    assert [(span.begin, span.end, span.calls) for span in time.spans] == [
        (0.0, 1.0, 2.0),
        (1.0, 1.5, 4.0),
        (1.5, 2.5, 1.0),
    ]
    assert time.share_in_use == pytest.approx((2.0 + 2.0 + 1.0) / (4 * 2.5))
    merged = time.merged(1)
    assert [(span.begin, span.end) for span in merged] == [(0.0, 1.5), (1.5, 2.5)]
    assert merged[0].calls == pytest.approx(4.0 / 1.5)


def test_a_few_far_worse_values_do_not_flatten_the_others() -> None:
    loss = Objective("loss", maximize=False)
    values = [0.1 * index for index in range(1, 20)] + [1e9]
    worst = worst_shown(loss, values)
    assert worst is not None
    assert 1.9 < worst < 100
    low, high = value_axis(loss, values)["range"]
    assert low < 0.1
    assert high < 100
    assert "range" not in value_axis(loss, values[:-1])
    accuracy = Objective("accuracy", maximize=True)
    assert worst_shown(accuracy, [0.9 + 0.001 * index for index in range(20)]) is None
    entries = entries_of(60)
    assert "with far worse values" not in render(facts_of(entries))
    far = [
        replace(each, values={"accuracy": -50.0}) if isinstance(each, Report) and each.trial == 0 else each
        for each in entries
    ]
    assert "1 trial with far worse values" in render(facts_of(far))
    wide = value_axis(loss, values, needed=[1e6])["range"]
    assert wide[1] >= 1e6


def test_an_axis_has_a_place_for_trials_without_the_parameter() -> None:
    rate = ParameterAxis(ParameterSpec.model_validate(PARAMETERS[0]), "rate", absent=True)
    assert rate.place({RATE: 0.1}) == -1.0
    assert rate.place({}) < -3.0
    assert rate.marks[0][1] == ABSENT
    assert [text for _, text in rate.marks[1:]] == ["0.001", "0.01", "0.1", "1"]
    hidden = ParameterAxis(ParameterSpec.model_validate(PARAMETERS[1]), "hidden", absent=False)
    assert [hidden.place({HIDDEN: choice}) for choice in ([16], [32, 16], HOSTILE)] == [0, 1, 2]
    assert "<" not in "".join(text for _, text in hidden.marks)


def test_what_was_forecast_stands_beside_what_was() -> None:
    facts = reported(20)
    assert "Forecast beside what was" not in render(facts)
    assert facts.outcome is not None
    facts.outcome["forecast"] = {
        "seconds": 60.0, "secondsRange": [40.0, 90.0], "secondsError": 0.2, "secondsWithin": True,
        "costUSD": 0.5, "costRange": [0.4, 0.6], "costError": -0.5, "costWithin": False,
    }  # fmt: skip
    page = render(facts)
    assert "<h2>Forecast beside what was</h2>" in page
    for text in ("1 min 00 s", "40.0 s to 1 min 30 s", "50.0 s", "+20 %", "yes", "$1.00", "-50 %", "no"):
        assert f"<td>{text}</td>" in page


def test_calls_in_flight_stand_against_the_limit_with_the_time_that_no_driver_ran() -> None:
    figure = use.in_flight(reported(60))
    assert figure is not None
    lines = {trace["name"]: trace for trace in figure.data}
    assert set(lines["in flight"]["y"]) == {6.0}
    assert set(lines["peak"]["y"]) == {7.0}
    assert set(lines["maxWorkers"]["y"]) == {8.0}
    assert (lines["in flight"]["x"][0], lines["in flight"]["x"][-1]) == (0.0, 60.0)
    assert [shape["x0"] for shape in figure.layout["shapes"]] == [30.0]
    assert "75 % of maxWorkers" in figure.said
    assert "1 h 00 min in all" in figure.said


def test_dollars_so_far_end_at_what_all_trials_have_used_below_the_budget() -> None:
    facts = reported(60)
    so_far, by_trial = use.dollars(facts)
    assert so_far.data[0]["y"][-1] == pytest.approx(facts.state.dollars, rel=1e-4)
    assert sum(by_trial.data[0]["y"]) == pytest.approx(facts.state.dollars, rel=1e-3)
    assert "shapes" not in so_far.layout
    common, _ = use.dollars(facts_of([*entries_of(60), Common(0.5)]))
    assert common.data[0]["y"][-1] == pytest.approx(facts.state.dollars + 0.5, rel=1e-4)
    for budget, drawn in ((1.5 * facts.state.dollars, True), (1000.0, False)):
        entries = [
            replace(each, budget_usd=budget) if isinstance(each, Limits) else each for each in entries_of(60)
        ]
        so_far, _ = use.dollars(facts_of(entries))
        assert ("shapes" in so_far.layout) is drawn
        assert ("The budget is $1000." in so_far.said) is not drawn


def test_the_cost_of_a_search_that_has_ended_has_what_interrupted_trials_have_used() -> None:
    *entries, end = entries_of(12)
    known = facts_of(entries).state.dollars
    granted = [*entries, Granted(known + 1)]
    assert facts_of(granted).dollars == known
    ended = facts_of([*granted, end])
    assert ended.dollars == known + 1
    assert f"<dt>cost</dt><dd>${known + 1:.2f}</dd>" in render(ended)


def test_dollars_of_many_trials_are_bars_of_several() -> None:
    facts = reported(1000)
    _, bars = use.dollars(facts)
    assert len(bars.data[0]["y"]) == 200
    assert "Each bar is 5 trials together" in bars.said
    assert sum(bars.data[0]["y"]) == pytest.approx(facts.state.dollars, rel=1e-3)
