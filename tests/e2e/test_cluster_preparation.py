"""Raw data of jobs and searches in a cluster: prepared once, by functions that may die, into the same blocks."""

import gzip
import hashlib
import io
import json
import random
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.departures import Departures, departures
from helpers.kube import (
    ONE_CPU,
    Job,
    condition_of,
    kubectl,
    namespace_of_its_own,
    owned_store,
    sample,
    wait_until,
)
from helpers.pod_watch import watched_pods
from helpers.tuning_cluster import Search, brief
from PIL import Image

from sapflow.data.blocks import load_manifest
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store

pytestmark = pytest.mark.e2e

PREPARERS = ("preparer",)
SEED = 16
KILLS = 5
IMAGES = 60


@dataclass(frozen=True)
class Raw:
    """Raw files in the bucket."""

    source: str
    rows: int
    bad: tuple[tuple[str, int], ...]


def uploaded(found: Departures, store: Store) -> Raw:
    """Put files into a folder of the bucket, as a user would."""
    folder = f"raw-{secrets.token_hex(4)}"
    for path in sorted(found.folder.iterdir()):
        store.create(f"{folder}/{path.name}", path.read_bytes())
    return Raw(f"s3://sapflow/{folder}", found.rows, found.bad)


def packed(found: Departures, folder: Path) -> Departures:
    """The same files, packed by gzip."""
    folder.mkdir()
    for path in sorted(found.folder.iterdir()):
        (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 6, mtime=0))
    return Departures(folder, found.rows, tuple((f"{name}.gz", line) for name, line in found.bad))


def removed(raw: Raw, store: Store) -> None:
    store.delete_prefix(f"{raw.source.removeprefix('s3://sapflow/')}/")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Departures:
    """Some 70 MB in two files, and so four partitions, of which all have bad rows."""
    return departures(tmp_path_factory.mktemp("raw") / "flights", rows=500_000, bad=40, tail=300)


@pytest.fixture(scope="module")
def raw(made: Departures) -> Iterator[Raw]:
    """These files in the bucket."""
    with owned_store() as store:
        found = uploaded(made, store)
        yield found
        removed(found, store)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Raw]:
    """A few thousand rows."""
    made = departures(tmp_path_factory.mktemp("few") / "flights", rows=4_000, bad=5)
    with owned_store() as store:
        found = uploaded(made, store)
        yield found
        removed(found, store)


def job_on(raw: Raw, **changes: Any) -> dict[str, Any]:
    """The sample of preparations on these files, with a short training."""
    brief = {
        "algorithm": {"steps": 20, "seed": 0},
        "cpu": ONE_CPU,
        "memory": {"worker": "512Mi", "merger": "128Mi"},
        "limits": {"retries": 8},
    }
    return sample("prepare", data__source=raw.source, **{**brief, **changes})


def digest_of(status: dict[str, Any]) -> str:
    return str(status["sharedData"]["digest"])


def written(store: Store, status: dict[str, Any]) -> dict[str, tuple[str, float]]:
    """Tags and dates of all objects of a job's data, by their keys in its area."""
    prefix = keys.data(keys.area(digest_of(status)))
    return {each.key.removeprefix(prefix): (each.tag, each.modified) for each in store.list(prefix)}


def sums(store: Store, status: dict[str, Any]) -> dict[str, str]:
    """The SHA-256 of each of these objects."""
    prefix = keys.data(keys.area(digest_of(status)))
    return {
        name: hashlib.sha256(store.read(f"{prefix}{name}")).hexdigest() for name in written(store, status)
    }


@dataclass(frozen=True)
class Prepared:
    """A job that has ended after a preparation that nothing befell."""

    namespace: str
    shown: str
    """What `kubectl get tj` printed meanwhile."""
    status: dict[str, Any]


@pytest.fixture(scope="module")
def undisturbed(raw: Raw) -> Iterator[Prepared]:
    with namespace_of_its_own() as namespace:
        job = Job.apply(namespace, job_on(raw), "undisturbed")
        job.until_reason("Preparing")
        shown = kubectl("get", "tj", "-n", namespace, job.name)
        yield Prepared(namespace, shown, job.until_succeeded())
        job.delete()


def test_a_job_says_that_it_prepares_and_what_came_of_its_rows(raw: Raw, undisturbed: Prepared) -> None:
    assert "Preparing" in undisturbed.shown
    found = undisturbed.status["progress"]["preparation"]
    assert (found["rows"], found["rejectedRows"]) == (raw.rows, len(raw.bad))
    assert undisturbed.status["progress"]["step"] == 20
    with owned_store() as store:
        names = set(written(store, undisturbed.status))
    assert {"manifest.json", "preparation.safetensors", "train/0", "validation/0"} <= names
    assert any(name.startswith("rejected/") for name in names)
    assert not [name for name in names if name.startswith("work/")], "what only preparers needed is removed"


def test_a_second_job_of_the_same_rows_prepares_nothing(raw: Raw, undisturbed: Prepared) -> None:
    other = job_on(raw, model={"name": "mlp", "args": {"hidden": [8]}}, workers=1, data__batchSize=64)
    with owned_store() as store:
        before = written(store, undisturbed.status)
        with watched_pods(undisturbed.namespace, "second", PREPARERS) as preparers:
            job = Job.apply(undisturbed.namespace, other, "second")
            seen = job.until_succeeded()
        assert digest_of(seen) == digest_of(undisturbed.status)
        assert written(store, seen) == before
    assert preparers.seen == set()
    job.delete()


def test_preparers_that_are_killed_leave_the_bytes_of_those_that_are_not(
    namespace: str, raw: Raw, undisturbed: Prepared
) -> None:
    """The namespace is a part of an area's name, so this one is prepared anew."""
    chance = random.Random(SEED)
    job = Job.apply(namespace, job_on(raw, limits={"retries": 8, "invocationSeconds": 20}))
    job.until_reason("Preparing")
    killed = 0
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.2, 2.0))
        killed += kill_preparers(job, chance)
    assert killed >= 3, "the preparation was over before its functions were killed"

    seen = job.until_succeeded()

    assert digest_of(seen) != digest_of(undisturbed.status)
    found = seen["progress"]["preparation"]
    assert (found["rows"], found["rejectedRows"]) == (raw.rows, len(raw.bad))
    with owned_store() as store:
        assert sums(store, seen) == sums(store, undisturbed.status)
    assert seen["result"]["sha256"] == undisturbed.status["result"]["sha256"]


def test_packed_files_are_prepared_in_parts_into_the_blocks_of_the_same_files_without_gzip(
    namespace: str, made: Departures, undisturbed: Prepared, tmp_path: Path
) -> None:
    chance = random.Random(SEED)
    with owned_store() as store:
        raw = uploaded(packed(made, tmp_path / "packed"), store)
        with watched_pods(namespace, "packed", PREPARERS) as preparers:
            job = Job.apply(namespace, job_on(raw), "packed")
            job.until_reason("Preparing")
            kill_preparers(job, chance)
            seen = job.until_succeeded()
        found = seen["progress"]["preparation"]
        assert (found["rows"], found["rejectedRows"]) == (raw.rows, len(raw.bad))
        assert blocks(sums(store, seen)) == blocks(sums(store, undisturbed.status))
        assert len(preparers.seen) >= 2
        removed(raw, store)
    assert seen["result"]["sha256"] == undisturbed.status["result"]["sha256"]
    job.delete()


def blocks(found: Mapping[str, str]) -> dict[str, str]:
    """The samples alone: what is said of bad rows names their files."""
    return {name: digest for name, digest in found.items() if name.startswith(("train/", "validation/"))}


def test_a_folder_of_images_is_prepared_and_a_broken_one_is_a_bad_row(namespace: str) -> None:
    steps = [
        {"encode": {"columns": ["label"], "method": "Classes"}},
        {"image": {"column": "image", "resize": [8, 8], "channels": 1}},
    ]
    prepare = {"target": "label", "maxBadRows": 1, "steps": steps}
    with owned_store() as store:
        source = uploaded_images(store)
        data = {"source": source, "format": "images", "batchSize": 8, "prepare": prepare}
        job = Job.apply(namespace, job_on(Raw(source, IMAGES + 1, ()), data=data), "images")
        seen = job.until_succeeded()
        found = seen["progress"]["preparation"]
        assert (found["rows"], found["rejectedRows"]) == (IMAGES + 1, 1)
        manifest = load_manifest(store, keys.manifest(keys.data(keys.area(digest_of(seen)))))
        assert manifest.class_names == ("dark", "light")
        assert manifest.train_samples + manifest.validation_samples == IMAGES
        (kept,) = [name for name in written(store, seen) if name.startswith("rejected/steps/")]
        told = json.loads(
            store.read(f"{keys.data(keys.area(digest_of(seen)))}{kept}").tobytes().splitlines()[0]
        )
        assert told["file"].endswith("light/broken.png")
        store.delete_prefix(f"{source.removeprefix('s3://sapflow/')}/")
    job.delete()


def uploaded_images(store: Store) -> str:
    """Put IMAGES pictures, half of them dark, and a broken one into a folder of the bucket; its URL."""
    folder, drawn = f"images-{secrets.token_hex(4)}", np.random.default_rng(SEED)
    for number in range(IMAGES):
        label, least = (("dark", 0), ("light", 128))[number % 2]
        pixels = drawn.integers(least, least + 128, (12, 16, 3), np.uint8)
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "png")
        store.create(f"{folder}/{label}/{number:03d}.png", content.getvalue())
    store.create(f"{folder}/light/broken.png", b"\x89PNG\r\n\x1a\n and no more")
    return f"s3://sapflow/{folder}"


def kill_preparers(job: Job, chance: random.Random) -> int:
    """Kill one or more preparers without grace once there are some; the number of them, 0 once all is prepared."""

    def kill() -> int | None:
        if job.state != ("Unknown", "Preparing"):
            return 0
        names = [
            each["metadata"]["name"]
            for each in job.pods("preparer")
            if each["status"].get("phase") == "Running" and "deletionTimestamp" not in each["metadata"]
        ]
        if not names:
            return None
        chosen = chance.sample(sorted(names), chance.randint(1, len(names)))
        words = ("--grace-period=0", "--force", "--wait=false", "--ignore-not-found", "-o", "name")
        return len(kubectl("delete", "pod", "-n", job.namespace, *chosen, *words).split())

    found = wait_until(lambda: None if (count := kill()) is None else (count,), "a preparer to kill", 60)
    return int(found[0])


def test_a_search_prepares_once_for_all_its_trials(namespace: str, few: Raw) -> None:
    data = job_on(few)["spec"]["data"]
    document = brief(
        template__spec__data=data, template__spec__algorithm={"steps": 400, "seed": 0}, maxTrials=3
    )
    search = Search.apply(namespace, document)
    begun = search.until(lambda seen: seen.get("progress", {}).get("running", 0) > 0, "a running trial")
    with owned_store() as store:
        before = written(store, begun)
        assert "manifest.json" in before
        seen = search.until_succeeded()
        assert seen["progress"]["finished"] == 3
        assert written(store, seen) == before
        found = seen["progress"]["preparation"]
        assert (found["rows"], found["rejectedRows"]) == (few.rows, len(few.bad))
        uid = search.read()["metadata"]["uid"]
        assert not [each.key for each in store.list(keys.job(uid)) if "/data/" in each.key]
    search.delete()


def test_more_bad_rows_than_are_allowed_fail_the_job_which_names_file_and_line(
    namespace: str, few: Raw
) -> None:
    job = Job.apply(namespace, job_on(few, data__prepare__maxBadRows=len(few.bad) - 1))
    succeeded = condition_of(job.until_finished(), "Succeeded")
    assert (succeeded["status"], succeeded["reason"]) == ("False", "InvalidData")
    file, line = few.bad[0]
    assert f"{file}, line {line}: " in succeeded["message"]
    assert f"maxBadRows allows {len(few.bad) - 1} of {few.rows:,}" in succeeded["message"]
