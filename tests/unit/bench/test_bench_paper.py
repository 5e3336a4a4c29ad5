"""What the benches under bench/paper stand on: the slow link, the fits, the figures."""

import asyncio
import os
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bench.__main__ import PAPER
from bench.paper import accuracy, case_c, choice, fashion, fig3, fig11, figure, link, steptime
from bench.paper.light import Steps, Tree
from bench.paper.link import Lane, Link
from sapflow.monitoring.report.charts import Line
from sapflow.quantities import structure

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "paper.md").read_text()


def test_the_page_names_every_bench_of_the_paper_and_has_every_figure() -> None:
    folder = Path(link.__file__).parent
    run = {path.stem for path in folder.glob("*.py") if "`python -m bench.paper." in path.read_text()}
    assert run == set(PAPER)
    assert set(re.findall(r"python -m bench\.paper\.(\w+)", PAGE)) == run
    shown = set(re.findall(r"\(figures/(\S+)\)", PAGE))
    assert shown == {path.name for path in (DOCS / "figures").iterdir()}


def test_bytes_of_a_lane_leave_one_after_the_other_and_arrive_half_a_round_trip_later() -> None:
    lane = Lane(Link(latency=0.2, bandwidth=1_000))
    assert lane.arrival(5.0, 100) == pytest.approx(5.2)
    assert lane.arrival(5.0, 300) == pytest.approx(5.5)
    assert lane.arrival(9.0, 0) == pytest.approx(9.1)


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(1, 10**6)), min_size=1, max_size=20))
def test_no_lane_gives_more_than_its_bandwidth_or_less_than_its_latency(
    sent: list[tuple[float, int]],
) -> None:
    lane, now, last = Lane(Link(latency=0.1, bandwidth=1e6)), 0.0, 0.0
    for pause, size in sent:
        now += pause
        arrived = lane.arrival(now, size)
        assert arrived >= max(now, last - 0.05) + size / 1e6 + 0.05 - 1e-9
        last = arrived
    assert last >= 0.05 + sum(size for _, size in sent) / 1e6 - 1e-9


@pytest.mark.parametrize("latency", [0.0, 0.02])
def test_the_link_passes_all_bytes_on_in_both_directions(latency: float) -> None:
    sent = os.urandom(3_000_000)

    async def there_and_back() -> bytes:
        gone = asyncio.Event()

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(100_000):
                writer.write(data)
                await writer.drain()
            writer.close()
            await writer.wait_closed()
            gone.set()

        async with await asyncio.start_server(echo, "127.0.0.1", 0) as far:
            host, port = far.sockets[0].getsockname()
            async with link.passing(host, port, Link(latency, 1e9)) as near:
                reader, writer = await asyncio.open_connection("127.0.0.1", near)
                writer.write(sent)
                back = await reader.readexactly(len(sent))
                writer.close()
                await writer.wait_closed()
                await gone.wait()
                return back

    assert asyncio.run(there_and_back()) == sent


def test_a_client_of_a_store_that_is_gone_is_hung_up_on() -> None:
    async def ask() -> bytes:
        async with await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0) as far:
            host, port = far.sockets[0].getsockname()
        async with link.passing(host, port, Link(0.0, 1e9)) as near:
            reader, writer = await asyncio.open_connection("127.0.0.1", near)
            answer = await reader.read()
            writer.close()
            return answer

    assert asyncio.run(ask()) == b""


def test_a_straight_line_is_fitted() -> None:
    found = fig3.fit([1, 2, 4, 8], [0.5, 0.7, 1.1, 1.9])
    assert (found.fixed, found.each, found.r_squared) == pytest.approx((0.3, 0.2, 1.0))


def test_no_structure_is_predicted_from_itself() -> None:
    start = steptime.nominal(steptime.LINK)
    truth = start.changed("truth", {"request": 0.25, "fetch": 0.23, "call": 0.01})
    measured = {tree: steptime.seconds(truth, tree, steptime.PARAMETERS) for tree in steptime.TREES}
    honest = steptime.crossed(measured, start, steptime.PARAMETERS)
    assert [row.tree for row in honest] == list(steptime.TREES)
    assert max(abs(row.error) for row in honest) < 0.02
    odd = steptime.TREES[5]
    spoilt = steptime.crossed({**measured, odd: 9.0}, start, steptime.PARAMETERS)
    assert spoilt[5].predicted == honest[5].predicted
    assert spoilt[4].predicted != honest[4].predicted


def test_the_structures_measured_are_ten_or_so_for_each_number_of_workers() -> None:
    assert len(set(steptime.TREES)) == len(steptime.TREES)
    for workers in (16, 64):
        trees = [tree.structure for tree in steptime.TREES if tree.structure[-1] == workers]
        assert len(trees) >= 8
        assert all(structure.validate(tree, workers) == [] for tree in trees)


@pytest.mark.parametrize("case", choice.CASES, ids=lambda case: case.name)
def test_a_choice_keeps_to_the_functions_that_there_is_room_for(case: choice.Case) -> None:
    chosen = choice.choose(steptime.nominal(choice.LINK), case.workers, case.parameters)
    assert structure.validate(chosen.structure, case.workers) == []
    assert chosen.shards * max(chosen.structure[:-1]) <= choice.MOST_FUNCTIONS
    assert len(set(case.trees)) == len(case.trees)
    assert chosen in case.trees or case.name in ("10 MB", "100 MB")


def test_the_choice_is_held_against_the_best_in_turns_alone() -> None:
    case = choice.CASES[0]
    found = {tree: Steps([float(place)]) for place, tree in enumerate(case.trees, 2)}
    chosen, best = case.trees[3], case.trees[0]
    constants = steptime.nominal(choice.LINK)
    same = choice.Outcome(case, constants, best, best, found, {})
    assert (same.best, same.ratio(best)) == (best, 1.0)
    automatic = case.trees[4]
    duel = {chosen: Steps([2.1, 9.0, 2.1]), automatic: Steps([2.2]), best: Steps([2.0])}
    other = choice.Outcome(case, constants, chosen, automatic, found, duel)
    assert other.ratio(chosen) == pytest.approx(1.05)
    assert other.ratio(automatic) == pytest.approx(1.1)
    assert f"comes to {automatic}: 1.100 times" in list(other.rows())[-1]
    text = "\n".join(other.rows())
    assert text.count("chosen") == text.count("best measured\n") == 1
    assert text.count("fitted to") == choice.CALIBRATION


def test_ways_to_merge_are_written_as_in_the_tables() -> None:
    assert [str(Tree((1, 4, 16))), str(Tree((1, 8), 4))] == ["[1, 4, 16]", "[1, 8] × 4"]


def test_accuracy_is_smoothed_over_the_last_steps() -> None:
    points = [(0.1, 1.0), (0.2, 0.0), (0.3, 0.5), (0.4, 0.7)]
    assert [value for _, value in accuracy.smoothed(points, 1)] == pytest.approx([1.0, 0.0, 0.5, 0.7])
    assert [value for _, value in accuracy.smoothed(points, 2)] == pytest.approx([1.0, 0.5, 0.25, 0.6])


@pytest.mark.parametrize("case", accuracy.CASES, ids=lambda case: case.name)
def test_both_cases_are_the_samples_jobs_with_one_run_of_steps(case: accuracy.Case) -> None:
    spec = accuracy.job_of(case).spec
    assert (spec.algorithm.steps, spec.workers, spec.data.validation_fraction) == (
        case.steps,
        case.workers,
        0,
    )


def test_a_figure_is_an_svg_that_stands_alone() -> None:
    series = [
        Line("a < b", "s1", [(0.0, 1.0), (1.0, 2.0)]),
        Line("points", "s2 points", [(0.5, 1.0)], marks=True),
    ]
    text = figure.draw(series, x="n", y="seconds")
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "a < b" in [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert ".s1 { --c" in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_case_c_is_the_sample_on_the_images_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = yaml.safe_load((DOCS.parent / "manifests" / "samples" / "case-c.yaml").read_text())
    monkeypatch.setattr(fashion, "FOLDER", DOCS / "no-such-folder")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    digits = case_c.job_of(None)
    assert digits.template.spec.data.source == "generated:mnist"
    assert digits.spec.max_trials == sample["spec"]["maxTrials"] >= 32
    assert {each.path for each in digits.spec.parameters} == {
        each["path"] for each in sample["spec"]["parameters"]
    }
    monkeypatch.setattr(fashion, "FOLDER", DOCS)
    assert case_c.job_of(3).template.spec.data.source == str(DOCS)
    assert str(fashion.PACKAGE) in (DOCS.parent / "manifests" / "samples" / "case-c.yaml").read_text()


@pytest.mark.parametrize(("sets", "most"), [(1, 64), (64, 64), (64, 16)])
def test_fig_11_trains_all_sets_at_once_as_far_as_n_allows(sets: int, most: int) -> None:
    spec = fig11._search(sets, most).spec
    assert (spec.trials_at_once, spec.max_trials, spec.max_workers) == (min(sets, most), sets, most)
