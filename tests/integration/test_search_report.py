"""`sapflow report` of a search that ran, and pages of searches in a real browser."""

import asyncio
import json
from pathlib import Path

import pytest
from helpers.browser import Page, browser, require_browser
from helpers.commands import Done, here
from helpers.reported_search import reported
from helpers.search_runs import iris_search

import sapflow
from sapflow.client.tuning import uid_of
from sapflow.monitoring.tuning_report import render

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow, pytest.mark.usefixtures("forked_functions")]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path, Done]:
    """A finished search's file, its store, its page, and what the command gave."""
    folder = tmp_path_factory.mktemp("searched")
    file, store, page = folder / "tune.yaml", folder / "store", folder / "report.html"
    file.write_text(json.dumps(iris_search(maxTrials=4).to_json()))
    done = here("run", file, "--store", store, "--json")
    assert done.code == 0, done.err
    return file, store, page, here("report", file, "--store", store, "-o", page, "--json")


def test_writes_a_page_of_a_finished_search(searched: tuple[Path, Path, Path, Done]) -> None:
    _, _, path, done = searched
    assert done.code == 0, done.err
    assert done.json == {
        "search": uid_of(iris_search(maxTrials=4)),
        "state": "Succeeded",
        "report": str(path),
    }
    page = path.read_text(encoding="utf-8")
    assert "<h2>Best trials</h2>" in page
    assert "The log of this search has no times" not in page
    assert "of maxWorkers were in use" in page


def test_finds_the_search_by_its_name_its_uid_and_its_folder(
    searched: tuple[Path, Path, Path, Done], tmp_path: Path
) -> None:
    _, store, path, done = searched
    uid, page = done.json["search"], tmp_path / "named.html"
    for given in (["search", "--store", store], [uid, "--store", store], [store / "jobs" / uid]):
        again = here("report", *given, "-o", page)
        assert again.code == 0, again.err
        assert again.out == f"{uid}: Succeeded, 4 trials; written to {page}\n"
        assert page.read_text(encoding="utf-8") == path.read_text(encoding="utf-8")
        page.unlink()


def test_a_python_program_writes_the_same_page(
    searched: tuple[Path, Path, Path, Done], tmp_path: Path
) -> None:
    _, store, path, done = searched
    page = sapflow.report(done.json["search"], tmp_path / "page.html", store=store)
    assert page == path.read_text(encoding="utf-8") == (tmp_path / "page.html").read_text(encoding="utf-8")
    best = sapflow.report(f"{done.json['search']}/trials/best", store=store)
    assert "<h2>Merge tree</h2>" in best
    with pytest.raises(sapflow.DataError, match="holds no job 'nothing'"):
        sapflow.report("nothing", store=store)


def test_a_search_of_which_nothing_has_begun_is_no_page(tmp_path: Path) -> None:
    file, page = tmp_path / "tune.yaml", tmp_path / "report.html"
    file.write_text(json.dumps(iris_search().to_json()))
    done = here("report", file, "--store", tmp_path / "store", "-o", page)
    assert done.code == 2
    assert "has begun yet" in done.err
    assert not page.exists()


def test_a_search_has_no_versions_to_report(searched: tuple[Path, Path, Path, Done]) -> None:
    _, store, _, done = searched
    refused = here("report", f"{done.json['search']}@3", "--store", store)
    assert refused.code == 2
    assert "leave out @3" in refused.err


def test_a_browser_draws_it_light_and_dark_wide_and_narrow_without_a_network(
    searched: tuple[Path, Path, Path, Done], tmp_path: Path
) -> None:
    require_browser()
    asyncio.run(check_page(searched[2], tmp_path))


def test_a_browser_takes_parameters_of_any_text_for_text_and_brushes(tmp_path: Path) -> None:
    require_browser()
    path = tmp_path / "report.html"
    path.write_text(
        render(reported(80, secondObjective={"metric": "dollars", "direction": "Minimize"})), encoding="utf-8"
    )
    asyncio.run(check_page(path, tmp_path))
    asyncio.run(check_brush(path, tmp_path))


async def drawn(page: Page, times: int) -> None:
    """Wait until all figures are drawn for the so manieth time."""
    while int(await page.evaluate("document.documentElement.dataset.drawn") or 0) < times:
        await asyncio.sleep(0.05)


async def check_page(path: Path, folder: Path) -> None:
    """Open a page in a browser: every figure is drawn in the scheme's colours; nothing is cut off, asked for, run that
    was in a text, or complained of."""
    async with browser(folder / "profile") as page:
        await page.look(width=1600, dark=False)
        await page.open(path)
        await drawn(page, 1)
        places = await page.evaluate("document.querySelectorAll('.plot').length")
        assert places >= 8
        papers, inks, times = {}, {}, 1
        for width in (380, 1600):
            for dark in (True, False):
                await page.look(width=width, dark=dark)
                times += 1
                await drawn(page, times)
                await page.picture(folder / f"{width}-{'dark' if dark else 'light'}.png")
                wide = await page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, f"{wide} px in a window of {width}"
                assert await page.evaluate("document.querySelectorAll('.plot .main-svg').length") >= places
                assert await page.evaluate("document.querySelectorAll('.parcoords').length") == 1
                assert await page.evaluate("document.querySelectorAll('.no-webgl').length") == 0
                papers[dark] = await page.evaluate("getComputedStyle(document.body).backgroundColor")
                inks[dark] = await page.evaluate(
                    "getComputedStyle(document.querySelector('.xtick text')).fill"
                )
        assert papers[False] != papers[True]
        assert inks[False] != inks[True]
        assert await page.evaluate("document.querySelectorAll('img, iframe, object, embed').length") == 0
        assert await page.evaluate("typeof window.hostile") == "undefined"
        assert page.requests == [path.resolve().as_uri()]
        assert page.complaints == []


async def check_brush(path: Path, folder: Path) -> None:
    """Keep a range of the learning rate, its decimal logarithm, and see which trials the page says pass there."""
    facts = reported(80)
    low, high = -1.5, -0.5
    passing = [
        trial
        for trial in facts.ranked
        if 10**low <= trial.parameters["spec.optimizer.learningRate"] <= 10**high
    ]
    async with browser(folder / "brushing") as page:
        await page.look(width=1600, dark=False)
        await page.open(path)
        await drawn(page, 1)
        plot = "document.querySelector('.parcoords').closest('.plot')"
        await page.evaluate(
            f"Plotly.restyle({plot}, {{'dimensions[0].constraintrange': [[[{low}, {high}]]]}}); 1"
        )
        said = await page.evaluate("document.querySelector('.brushed').textContent")
        assert said.startswith(f"{len(passing)} of {len(facts.ranked)} trials pass, the best: ")
        assert said.rpartition(": ")[2].split(", ") == [str(trial.number) for trial in passing[:10]]
        await page.evaluate(f"Plotly.restyle({plot}, {{'dimensions[0].constraintrange': [null]}}); 1")
        assert await page.evaluate("document.querySelector('.brushed').textContent") == ""
