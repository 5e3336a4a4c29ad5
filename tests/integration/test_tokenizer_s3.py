"""A tokenizer.json in an object store: prepared with by real functions, and noticed where it is another one."""

import asyncio
import json
import os
from contextlib import closing
from typing import Any

import pytest
from helpers.preparations import flights, prepared_job
from s3_servers import S3Service
from tokenizers import Tokenizer, models, pre_tokenizers

from sapflow.client import preparation
from sapflow.client.session import Session, open_session
from sapflow.data.manifest import Manifest, block_key
from sapflow.errors import DataError
from sapflow.monitoring.display import Display

pytestmark = [pytest.mark.s3]


def tokenizer(*words: str) -> bytes:
    """A tokenizer.json whose words have the numbers 1, 2, …"""
    numbers = {word: number for number, word in enumerate(["[PAD]", *words])}
    made = Tokenizer(models.WordLevel(numbers, unk_token="[PAD]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return str(made.to_str()).encode()


def job(source: str, named: str) -> Any:
    steps = [
        {"select": {"columns": ["note", "late"]}},
        {"tokens": {"column": "note", "tokenizer": named, "length": 4}},
        {"encode": {"columns": ["late"], "method": "Classes"}},
    ]
    return prepared_job(source, steps)  # type: ignore[arg-type]


def made(opened: Session, environ: dict[str, str]) -> tuple[Manifest, bytes]:
    """The manifest of prepared data, and its first block."""
    resolved = opened.settle()
    work = preparation.alone(resolved, opened.store, opened.url, environ, Display(), max_instances=1)
    manifest = asyncio.run(work).manifest
    return manifest, bytes(opened.store.read(block_key(resolved.data_prefix, "train", 0)))


def test_a_tokenizer_in_a_bucket_makes_the_samples_of_one_on_disk(
    minio: S3Service, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("tokenizer")
    source = str(flights(place / "raw", rows=80))
    environ = {
        **os.environ,
        "SAPFLOW_S3_ACCESS_KEY": minio.credentials.access_key,
        "SAPFLOW_S3_SECRET_KEY": minio.credentials.secret_key,
    }
    with pytest.MonkeyPatch.context() as patched, closing(minio.open()) as bucket:
        for name, value in environ.items():
            patched.setenv(name, value)
        key = "tokenizer-words/tokenizer.json"
        bucket.create(key, tokenizer("y", "x"))
        local = place / "tokenizer.json"
        local.write_bytes(tokenizer("y", "x"))
        found = []
        # A name without an endpoint is looked for beside the job's store.
        beside = minio.url(key).partition("?")[0]
        for number, (named, store) in enumerate(
            [
                (minio.url(key), str(place / "store")),
                (beside, minio.url("tokenizer-jobs")),
                (str(local), str(place / "other")),
            ]
        ):
            with open_session(job(source, named), environ, store=store) as opened:
                found.append(made(opened, environ))
            assert found[number][0].shape == (4,), named
        assert len({block for _, block in found}) == 1
        assert len({manifest.preparation for manifest, _ in found}) == 1

        # Another tokenizer under the same name makes other data, which the job moves on to.
        before = [path.name for path in (place / "store" / "shared").iterdir()]
        bucket.delete([key])
        bucket.create(key, tokenizer("x", "y"))
        with open_session(job(source, minio.url(key)), environ, store=str(place / "store")) as opened:
            assert made(opened, environ)[1] != found[0][1]
        after = [path.name for path in (place / "store" / "shared").iterdir()]
        assert (len(before), len(after)) == (1, 1)
        assert before != after

        bucket.delete([key])
        with (
            open_session(job(source, minio.url(key)), environ, store=str(place / "late")) as opened,
            pytest.raises(DataError, match=r"spec\.data: there is no file at s3://.*tokenizer\.json"),
        ):
            made(opened, environ)
        record = next((place / "store" / "shared").rglob("area.json"))
        assert any(
            each["name"].endswith("tokenizer.json") for each in json.loads(record.read_bytes())["files"]
        )
