"""The reference of the spec is what its models say."""

from pathlib import Path

import pytest

from sapflow.spec import reference
from sapflow.spec.training_job import CLUSTER_ONLY

PAGE = Path(__file__).resolve().parents[3] / reference.DEFAULT_PATH


def test_the_pages_in_the_repository_are_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PAGE.parents[2])
    assert reference.main(["--check"]) == 0
    assert {page.kind for page in reference.PAGES} == {"TrainingJob", "TuningJob", "ModelService"}


def test_a_search_has_a_page_of_its_own_and_leaves_its_template_to_the_other() -> None:
    page = reference.PAGES[1].render()
    assert "| `path` | text," in page
    assert "The spec of a TrainingJob: [spec.md](spec.md)." in page
    assert "## spec.template.spec.model" not in page
    assert "- `spec.maxWorkers` must be at least template.spec.workers" in page


def test_a_page_that_differs_is_told_so_and_written_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "docs" / "spec.md"
    assert reference.main([str(path), "--check"]) == 1
    assert "is out of date: run python -m sapflow.spec.reference" in capsys.readouterr().err
    assert reference.main([str(path)]) == 0
    assert reference.main([str(path), "--check"]) == 0


def test_fields_have_type_bounds_default_and_meaning() -> None:
    lines = reference.render().splitlines()
    assert "| `workers` | whole number, ≥ 1, ≤ 10,000 | **required** | Number of workers (ranks). |" in lines
    batch = "Samples of one worker in one (local) step."
    assert f"| `batchSize` | whole number, ≥ 1, ≤ 1,000,000 | `32` | {batch} |" in lines
    assert any(line.startswith('| `onNaN` | `Fail` or `Skip` | `"Fail"` | ') for line in lines)


def test_every_field_that_is_refused_is_listed_with_the_reason() -> None:
    page = reference.render()
    for path, why in CLUSTER_ONLY.items():
        assert f"- `{path}`: {why}" in page
