"""Raw data of jobs and searches in a cluster: prepared once, by functions that may die, into the same blocks."""

import hashlib
import random
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

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

from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store

pytestmark = pytest.mark.e2e

PREPARERS = ("preparer",)
SEED = 16
KILLS = 5


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


def removed(raw: Raw, store: Store) -> None:
    store.delete_prefix(f"{raw.source.removeprefix('s3://sapflow/')}/")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Raw]:
    """Some 70 MB in two files, and so four partitions, of which all have bad rows."""
    made = departures(tmp_path_factory.mktemp("raw") / "flights", rows=200_000, bad=40, tail=300)
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
        template__spec__data=data, template__spec__algorithm={"steps": 20, "seed": 0}, maxTrials=3
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
