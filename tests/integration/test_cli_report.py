"""`sapflow report` of a job that ran, and its page in a real browser."""

import asyncio
import json
from itertools import pairwise
from pathlib import Path

import pytest
from helpers.browser import browser, require_browser
from helpers.commands import Done, run, write_job

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path, Done]:
    """A finished job's file, its store, its page, and what the command gave."""
    folder = tmp_path_factory.mktemp("reported")
    file, store, page = folder / "job.yaml", folder / "store", folder / "report.html"
    write_job(file, algorithm_steps=12, evaluation_everySteps=4, merge_structure=[1, 2, 4], workers=4)
    assert run("run", "--max-instances", 2, file, "--store", store).code == 0
    return file, store, page, run("report", file, "--store", store, "-o", page, "--json")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a placed job whose budget was spent before its end."""
    folder = tmp_path_factory.mktemp("stopped")
    file, store, page = folder / "job.yaml", folder / "store", folder / "report.html"
    placed = {"affinity": [{"from": "Worker", "to": "Root", "weight": 100}], "placement": {"cells": 2}}
    write_job(file, workers=4, merge_structure=[1, 4], algorithm_steps=40, limits_budgetUSD=1e-5, **placed)
    assert run("run", "--max-instances", 2, file, "--store", store).code == 1
    assert run("report", file, "--store", store, "-o", page).code == 0
    return page


def test_writes_a_page_of_a_finished_job(reported: tuple[Path, Path, Path, Done]) -> None:
    _, _, path, done = reported
    assert done.code == 0, done.err
    assert done.json["state"] == "Succeeded"
    page = path.read_text(encoding="utf-8")
    assert "seconds a step" in page
    assert "No prediction" not in page
    assert page.count('class="node worker"') == 4
    assert "Calls were not counted" not in page


def test_every_step_counts_its_calls_by_level(reported: tuple[Path, Path, Path, Done]) -> None:
    _, store, _, done = reported
    lines = (store / "jobs" / done.json["job"] / "result" / "metrics.jsonl").read_text().splitlines()
    for line in lines:
        levels = json.loads(line)["levels"]
        assert [usage["calls"] for usage in levels] == [4, 2, 1]
        for below, above in pairwise(levels):
            assert above["bytesRead"] >= below["bytesWritten"] > 0
            assert 0 < above["slowest"] <= above["seconds"]


def test_a_root_in_a_tree_finds_in_memory_what_it_wrote_in_the_step_before(
    reported: tuple[Path, Path, Path, Done],
) -> None:
    _, store, _, done = reported
    lines = (store / "jobs" / done.json["job"] / "result" / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["levels"] for line in lines]
    # The first step's root reads version 0; the others read their two children alone.
    assert [root["bytesRead"] - mergers["bytesWritten"] > 0 for _, mergers, root in steps] == [
        True,
        *[False] * (len(steps) - 1),
    ]


def test_finds_the_job_by_its_name_in_the_store(
    reported: tuple[Path, Path, Path, Done], tmp_path: Path
) -> None:
    _, store, _, done = reported
    page = tmp_path / "named.html"
    again = run("report", done.json["job"], "--store", store, "-o", page, "--no-prediction")
    assert again.code == 0, again.err
    assert str(page) in again.out
    assert "left out by --no-prediction" in page.read_text(encoding="utf-8")


def test_finds_the_job_by_its_folder(reported: tuple[Path, Path, Path, Done], tmp_path: Path) -> None:
    _, store, _, done = reported
    folder = store / "jobs" / done.json["job"]
    again = run("report", folder, "-o", tmp_path / "folder.html", "--no-prediction", "--json")
    assert again.json["job"] == done.json["job"]


def test_a_job_of_which_nothing_is_trained_is_no_page(tmp_path: Path) -> None:
    file, page = write_job(tmp_path / "job.yaml"), tmp_path / "report.html"
    done = run("report", file, "--store", tmp_path / "store", "-o", page)
    assert done.code == 2
    assert "is trained yet" in done.err
    assert not page.exists()


def test_a_page_that_cannot_be_written_is_said_by_its_path(reported: tuple[Path, Path, Path, Done]) -> None:
    file, store, _, _ = reported
    done = run("report", file, "--store", store, "-o", "/proc/report.html", "--no-prediction")
    assert done.code == 2
    assert "/proc/report.html cannot be written" in done.err
    assert "--output" in done.err


def test_writes_a_page_of_a_placed_job_that_was_stopped_by_a_limit(stopped: Path) -> None:
    page = stopped.read_text(encoding="utf-8")
    assert "<b>BudgetExceeded</b>" in page
    assert "limit reached" in page
    assert "Placement by node" in page
    assert "taken so far:" in page
    assert "An edge is what one child wrote" in page


def test_a_browser_shows_it_light_and_dark_wide_and_narrow_without_a_network(
    reported: tuple[Path, Path, Path, Done], tmp_path: Path
) -> None:
    require_browser()
    _, _, path, _ = reported
    asyncio.run(check_page(path, tmp_path))


def test_a_browser_shows_a_placed_job_that_was_stopped(stopped: Path, tmp_path: Path) -> None:
    require_browser()
    asyncio.run(check_page(stopped, tmp_path))


async def check_page(path: Path, folder: Path) -> None:
    """Open a page in a browser, light and dark, wide and narrow: nothing is cut off, asked for, or complained of."""
    async with browser(folder / "profile") as page:
        await page.open(path)
        papers = {}
        for width in (360, 1280):
            for dark in (False, True):
                await page.look(width=width, dark=dark)
                await page.picture(folder / f"{width}-{'dark' if dark else 'light'}.png")
                wide = await page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, f"{wide} px in a window of {width}"
                tops = "[...document.querySelectorAll('.grid')[0].children].map(e => e.getBoundingClientRect().top)"
                charts = await page.evaluate(tops)
                assert len(charts) == 6, "loss, accuracy and macro F1, each against time and dollars"
                assert len(set(charts)) == (6 if width == 360 else 3)
                papers[dark] = await page.evaluate("getComputedStyle(document.body).backgroundColor")
                assert await page.evaluate(_LABELS_OUTSIDE) == []
                assert await page.evaluate(_LABELS_IN_TREE) == []
        assert papers[False] != papers[True]
        assert page.requests == [path.resolve().as_uri()]
        assert page.complaints == []


_LABELS_OUTSIDE = """[...document.querySelectorAll('svg text')].filter(text => {
  const one = text.getBoundingClientRect(), all = text.closest('svg').getBoundingClientRect();
  return one.left < all.left - 1 || one.right > all.right + 1 || one.top < all.top - 1 || one.bottom > all.bottom + 1;
}).map(text => text.textContent)"""
"""Words that a chart's edge would cut off."""
_LABELS_IN_TREE = """(() => {
  const svg = document.querySelector('svg[aria-label^="merge tree"]');
  const edge = Math.min(...[...svg.querySelectorAll('.edge, .node')].map(e => e.getBoundingClientRect().left));
  return [...svg.querySelectorAll('text')].filter(e => e.getBoundingClientRect().right > edge).map(e => e.textContent);
})()"""
"""Words that reach into the merge tree."""
