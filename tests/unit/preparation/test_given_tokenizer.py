"""A tokenizer that a spec names, through a preparation."""

from pathlib import Path
from typing import Any

import pytest
from helpers.preparations import PreparationRun, flights, prepared_job
from tokenizers import Tokenizer, models, pre_tokenizers

from sapflow.data.shared_data import area_for
from sapflow.errors import DataError, JobFailed
from sapflow.preparation.fitted import FittedPreparation
from sapflow.preparation.record import Record
from sapflow.preparation.steps.registry import CLASSES
from sapflow.preparation.steps.tokens import Tokens
from sapflow.spec.training_job import TrainingJob


def job(folder: Path, tokenizer: Path) -> TrainingJob:
    steps: list[dict[str, Any]] = [
        {"select": {"columns": ["note", "late"]}},
        {"tokens": {"column": "note", "tokenizer": str(tokenizer), "length": 4}},
        {"encode": {"columns": ["late"], "method": "Classes"}},
    ]
    source = folder / "raw"
    return prepared_job(source if source.exists() else flights(source, rows=80), steps)


def written(path: Path, *words: str) -> Path:
    tokenizer = Tokenizer(
        models.WordLevel({word: number for number, word in enumerate(["[PAD]", *words])}, unk_token="[PAD]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    path.write_text(tokenizer.to_str())
    return path


def test_samples_are_its_tokens(tmp_path: Path) -> None:
    run = PreparationRun(tmp_path / "store", job(tmp_path, written(tmp_path / "tokenizer.json", "x")))
    manifest = run.run().manifest
    assert manifest.shape == (4,)
    assert manifest.class_names == ("no", "yes")
    (kept,) = (tmp_path / "store").rglob("preparation.safetensors")
    fitted = FittedPreparation.of_record(Record.decode(kept.read_bytes(), kept.name), CLASSES)
    (step,) = (each for each in fitted.state.stages if isinstance(each, Tokens))
    assert step.tokenizer == (tmp_path / "tokenizer.json").read_bytes()
    assert fitted.plan.named_files == {}, "the file is kept once"


def test_another_tokenizer_under_the_same_name_makes_other_data(tmp_path: Path) -> None:
    def digest(*words: str) -> str:
        return area_for(
            job(tmp_path, written(tmp_path / "tokenizer.json", *words)), "local", lambda url: []
        ).area.digest

    assert digest("x") == digest("x") != digest("y")


def test_one_that_is_not_there_or_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file at .*none\.json"):
        PreparationRun(tmp_path / "one", job(tmp_path, tmp_path / "none.json")).run()
    (tmp_path / "wrong.json").write_text("{}")
    with pytest.raises(JobFailed, match=r"steps\[1\]\.tokens\.tokenizer: .*is no tokenizer.json"):
        PreparationRun(tmp_path / "other", job(tmp_path, tmp_path / "wrong.json")).run()
