"""The shared area of a job's data: the same for jobs that cut the same blocks, another for every other one."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.jobs import document, tiny_job
from helpers.searches import search_job

from sapflow.data import area, fingerprint
from sapflow.data.area import Area, area_of, belongs, shareable
from sapflow.data.blocks import cut_blocks
from sapflow.data.fingerprint import CutFile
from sapflow.data.source import open_data
from sapflow.data.source_files import data_files
from sapflow.errors import CorruptObject, SpecError
from sapflow.objects.stores.factory import open_store
from sapflow.spec.document import parse
from sapflow.spec.learning import DataSpec

FILE = CutFile(name="s3://b/a.csv", size=10, tag="etag-1")


def of(files: list[CutFile] | None = None, scope: str = area.LOCAL, **changes: Any) -> Area:
    return area_of(tiny_job(**changes), [FILE] if files is None else files, scope)


@pytest.mark.parametrize(
    "changes",
    [
        {"workers": 2, "merge_structure": [1, 2]},
        {"data_batchSize": 4},
        {"data_microBatchSize": 2},
        {"data_partition": "Fixed"},
        {"data_dropLast": True},
        {"optimizer_learningRate": 0.5},
        {"algorithm_steps": 9},
        {"model_args": {"hidden": [4]}},
        {"threads": 2},
    ],
)
def test_what_no_cut_follows_from_names_no_other_area(changes: dict[str, Any]) -> None:
    assert of(**changes) == of()


@pytest.mark.parametrize(
    "changes",
    [
        {"data_source": "sklearn:wine"},
        {"data_format": "csv"},
        {"data_options": {"target": "b"}},
        {"data_validationFraction": 0.25},
        {"data_split": "Stratified"},
        {"data_validation": {"source": "held.csv"}, "data_validationFraction": None},
        {"data_normalize": "None"},
        {"algorithm_seed": 4},
        {"scope": area.namespace("team")},
        {"files": []},
        {"files": [FILE.model_copy(update={"tag": "etag-2"})]},
        {"files": [FILE.model_copy(update={"size": 11})]},
        {"files": [FILE.model_copy(update={"name": "s3://b/b.csv"})]},
        {"files": [FILE, FILE.model_copy(update={"name": "s3://b/b.csv"})]},
    ],
)
def test_all_that_a_cut_follows_from_names_another_area(changes: dict[str, Any]) -> None:
    assert of(**changes).digest != of().digest


def test_every_field_of_the_data_is_one_or_the_other() -> None:
    """A new field of spec.data must be told apart: it makes other blocks, or it does not."""
    of_reading = {"batchSize", "microBatchSize", "dropLast", "partition", "scaleTarget"}
    aliases = {field.alias or name for name, field in DataSpec.model_fields.items()}
    assert aliases == of_reading | set(area.CUT_BY)


def test_no_trial_of_a_search_has_another_cut_than_its_template() -> None:
    """Trials are compared on the same held-out samples, and their data is cut once."""
    for path in ("spec.algorithm.seed", *(f"spec.data.{name}" for name in area.CUT_BY)):
        parameter = {"path": path, "categorical": {"choices": [1, 2]}}
        with pytest.raises(SpecError, match="what is cut of the data are the search's"):
            search_job(parameters=[parameter])


@pytest.mark.parametrize("change", [{"NUMERICS": 99}, {"VERSION": 99}, {"MAX_BLOCK_BYTES": 1}])
def test_a_release_that_cuts_otherwise_names_another_area(
    change: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = of()
    for name, value in change.items():
        monkeypatch.setattr(area, name, value)
    assert of().digest != before.digest
    # A job that began under the earlier release goes on with what that has cut.
    assert belongs(before.record, before.digest, tiny_job(), area.LOCAL)


def test_a_local_file_is_its_content_and_not_its_age(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3,4\n")
    data = DataSpec.model_validate({"source": str(tmp_path / "a.csv")})

    def found() -> str:
        return of(fingerprint.describe(data_files(data)).files).digest

    before = found()
    (tmp_path / "a.csv").touch()
    assert found() == before
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3,5\n")
    assert found() != before


def test_one_digest_is_one_set_of_bytes(tmp_path: Path) -> None:
    """What a cut of a job writes is the same whatever it is that names no other area."""
    found = []
    for number, changes in enumerate(({}, {"workers": 2, "merge_structure": [1, 2], "data_batchSize": 3})):
        job = tiny_job(**changes)
        store = open_store(str(tmp_path / str(number)))
        data = job.spec.data
        cut_blocks(
            open_data(data),
            store,
            "d/",
            validation_fraction=data.validation_fraction,
            seed=job.spec.algorithm.seed,
        )
        found.append({each.key: bytes(store.read(each.key)) for each in store.list("d/")})
    assert found[0] == found[1]
    assert len(found[0]) == 3


def test_an_area_belongs_to_whose_spec_names_what_its_record_says() -> None:
    made = of()
    assert belongs(made.record, made.digest, tiny_job(), area.LOCAL)
    assert not belongs(made.record, made.digest, tiny_job(), area.namespace("team"))
    assert not belongs(made.record, made.digest, tiny_job(data_source="sklearn:wine"), area.LOCAL)
    assert not belongs(made.record, made.digest, tiny_job(algorithm_seed=9), area.LOCAL)
    assert not belongs(made.record, "0" * 32, tiny_job(), area.LOCAL), "the digest of another area"
    forged = {**json.loads(made.record), "files": []}
    assert not belongs(json.dumps(forged).encode(), made.digest, tiny_job(), area.LOCAL)
    assert not belongs(b"[]", made.digest, tiny_job(), area.LOCAL)
    with pytest.raises(CorruptObject):
        belongs(b"{", made.digest, tiny_job(), area.LOCAL)


def test_a_record_that_was_written_with_the_defaults_left_out_is_the_same() -> None:
    """The operator resolves a job from the resource, the local run from the YAML."""
    short = document(data_validationFraction=None)
    assert area_of(parse(short), [], area.LOCAL) == area_of(tiny_job(), [], area.LOCAL)


def test_samples_that_a_program_handed_over_stay_with_its_job() -> None:
    assert not shareable(DataSpec.model_validate({"source": "memory:0123"}))
    for source in ("sklearn:iris", "generated:mnist", "synthetic:binary", "s3://b/p", "./a.csv"):
        assert shareable(DataSpec.model_validate({"source": source}))
