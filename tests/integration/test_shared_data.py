"""Jobs of one store share what is cut of the same data, and it goes with the last of them."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.jobs import Place, Simulation, document, tiny_job
from helpers.search_runs import iris_search

from sapflow.client import inputs, tuning
from sapflow.client.job_data import find_manifest
from sapflow.client.session import Session, find_session, open_session, uid_of
from sapflow.data import cut
from sapflow.data.blocks import cut_blocks
from sapflow.data.manifest import manifest_key
from sapflow.data.source import open_data
from sapflow.driver.driver import Driver
from sapflow.errors import AlteredObject, DataError, InputsChanged, StoreError
from sapflow.objects import keys
from sapflow.objects.stores.directory import DirectoryStore
from sapflow.objects.stores.factory import open_store
from sapflow.spec.resolved import ResolvedJob
from sapflow.spec.training_job import TrainingJob
from sapflow.spec.tuning_job import TuningJob

SHORT: dict[str, Any] = {"algorithm": {"steps": 2, "seed": 3}, "workers": 2, "merge_structure": [1, 2]}


def session(path: Path, job: TrainingJob) -> Session:
    return Session(uid_of(job), job, open_store(str(path)), path.as_uri())


def place(opened: Session, path: Path) -> Place:
    return Place(opened.job, opened.uid, opened.cut_data(), opened.store, path)


def areas(path: Path) -> list[str]:
    """The digests of the areas that have data."""
    return sorted(found.parts[-3] for found in (path / keys.SHARED).glob("*/data/manifest.json"))


def users(path: Path, digest: str) -> set[str]:
    return {found.name for found in (path / keys.area_users(digest)).glob("*")}


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys that any store is asked to write, in order."""
    found: list[str] = []
    create = DirectoryStore.create

    def counted(store: DirectoryStore, key: str, *args: Any, **options: Any) -> bool:
        found.append(key)
        return create(store, key, *args, **options)

    monkeypatch.setattr(DirectoryStore, "create", counted)
    return found


def samples(path: Path, seed: int, rows: int = 60) -> str:
    x = np.random.default_rng(seed).normal(size=(rows, 4)).astype("float32")
    np.savez(path, x=x, y=(x[:, 0] > 0).astype("int64"))
    return str(path)


def test_a_job_whose_data_is_there_cuts_nothing_and_trains_to_the_same_bits(
    tmp_path: Path, written: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = samples(tmp_path / "a.npz", 1)
    one, two = (tiny_job(**SHORT, data_source=source, optimizer_learningRate=rate) for rate in (0.1, 0.2))
    alone = place(session(tmp_path / "alone", two), tmp_path / "alone")
    expected = Simulation(alone).run()["sha256"]

    first = session(tmp_path / "store", one)
    first.cut_data()
    blocks = [key for key in written if "/data/t" in key or "/data/v" in key]
    assert len(blocks) == 4, "two parts in each store"

    written.clear()
    monkeypatch.setattr(cut, "cut_blocks", None)  # the source is not read again
    second = place(session(tmp_path / "store", two), tmp_path / "store")
    assert [key for key in written if "/data/" in key and not key.endswith("source.json")] == []
    (digest,) = areas(tmp_path / "store")
    assert users(tmp_path / "store", digest) == {first.uid, second.uid}
    assert Simulation(second).run()["sha256"] == expected
    assert not list((tmp_path / "store" / keys.JOBS).glob("*/data"))


def test_an_area_goes_with_its_last_user_and_no_earlier(tmp_path: Path) -> None:
    one, two = (session(tmp_path, tiny_job(**SHORT, optimizer_learningRate=rate)) for rate in (0.1, 0.2))
    for each in (one, two):
        each.cut_data()
    (digest,) = areas(tmp_path)
    one.forget()
    assert areas(tmp_path) == [digest]
    assert users(tmp_path, digest) == {two.uid}
    assert find_manifest(two) is not None
    assert one.area is None
    one.cut_data()
    two.forget()
    one.forget()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def forget_half_way(opened: Session | tuning.TuningSession) -> None:
    """The process dies as the objects below the prefix are about to go."""

    class Died(Exception):
        pass

    def dying(prefix: str) -> None:
        if prefix == opened.prefix:
            raise Died

    real, opened.store.delete_prefix = opened.store.delete_prefix, dying  # type: ignore[method-assign]
    with pytest.raises(Died):
        opened.forget()
    opened.store.delete_prefix = real  # type: ignore[method-assign]


def test_a_job_that_is_forgotten_half_way_is_forgotten_by_the_next_try(tmp_path: Path) -> None:
    opened = session(tmp_path, tiny_job(**SHORT))
    opened.cut_data()
    (digest,) = areas(tmp_path)

    forget_half_way(opened)
    assert opened.area == digest, "the spec names the area for as long as there may be something of it"
    opened.forget()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_other_data_is_in_another_area_and_no_job_of_one_uses_the_other(tmp_path: Path) -> None:
    jobs = [
        tiny_job(**SHORT),
        tiny_job(algorithm={"steps": 2, "seed": 4}),
        tiny_job(data_source="sklearn:wine"),
    ]
    digests = []
    for job in jobs:
        opened = session(tmp_path, job)
        opened.cut_data()
        digests.append(opened.area)
        assert users(tmp_path, str(opened.area)) == {opened.uid}
    assert sorted(map(str, digests)) == areas(tmp_path)
    assert len(set(digests)) == 3


def test_two_jobs_that_cut_at_once_have_one_set_of_blocks(tmp_path: Path) -> None:
    source = samples(tmp_path / "a.npz", 1, rows=3000)
    jobs = [tiny_job(**SHORT, data_source=source, optimizer_learningRate=rate) for rate in (0.1, 0.2, 0.3)]
    start, manifests = threading.Barrier(len(jobs)), []

    def one(job: TrainingJob) -> None:
        start.wait()
        manifests.append(session(tmp_path / "store", job).cut_data())

    threads = [threading.Thread(target=one, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(manifests) == 3
    assert manifests[0] == manifests[1] == manifests[2]
    (digest,) = areas(tmp_path / "store")
    assert len(users(tmp_path / "store", digest)) == 3


@contextmanager
def of_the_earlier_layout(path: Path, job: TrainingJob) -> Iterator[Session]:
    """A job whose data an earlier release has cut, below the job's own prefix."""
    opened = session(path, job)
    cut.write_spec(ResolvedJob(job, opened.prefix), opened.store)
    cut_blocks(
        open_data(job.spec.data),
        opened.store,
        keys.data(opened.prefix),
        validation_fraction=job.spec.data.validation_fraction,
        seed=job.spec.algorithm.seed,
    )
    yield opened


def test_a_job_that_began_with_data_of_its_own_goes_on_with_it(tmp_path: Path, written: list[str]) -> None:
    expected = Simulation(place(session(tmp_path / "new", tiny_job(**SHORT)), tmp_path / "new")).run()
    with of_the_earlier_layout(tmp_path / "old", tiny_job(**SHORT)) as opened:
        written.clear()
        found = place(opened, tmp_path / "old")
        assert opened.area is None
        assert [key for key in written if "data/" in key] == []
        assert Simulation(found).run()["sha256"] == expected["sha256"]
        assert find_manifest(find_session(opened.uid, {}, store=str(tmp_path / "old"))) is not None
        assert not (tmp_path / "old" / keys.SHARED).exists()
        opened.forget()
    assert [path for path in (tmp_path / "old").rglob("*") if path.is_file()] == []


def test_a_begun_job_stays_with_its_area_when_its_source_has_changed(tmp_path: Path) -> None:
    source = samples(tmp_path / "a.npz", 1)
    job = tiny_job(**SHORT, data_source=source)
    opened = session(tmp_path / "store", job)
    found = place(opened, tmp_path / "store")
    before = opened.area
    Simulation(found).run()
    assert inputs.changed_data(opened.resolved, opened.store) == []
    samples(tmp_path / "a.npz", 2)
    with pytest.raises(InputsChanged, match=r"a\.npz"):
        inputs.check(opened, {})
    assert opened.settle().area == before
    # Another job of the same YAML but its rate is about what the file holds now.
    other = session(tmp_path / "store", tiny_job(**SHORT, data_source=source, optimizer_learningRate=0.3))
    other.cut_data()
    assert other.area not in (None, before)


def test_a_job_that_has_not_begun_trains_on_what_was_cut_of_a_source_that_is_gone(tmp_path: Path) -> None:
    source = samples(tmp_path / "a.npz", 1)
    opened = session(tmp_path / "store", tiny_job(**SHORT, data_source=source))
    manifest = opened.cut_data()
    before = opened.area
    (tmp_path / "a.npz").unlink()
    assert opened.cut_data() == manifest
    assert opened.area == before
    opened.forget()
    with pytest.raises(DataError, match=r"a\.npz"):
        opened.cut_data()


def test_a_source_that_changes_while_it_is_cut_is_refused_and_spoils_no_area(tmp_path: Path) -> None:
    source = samples(tmp_path / "a.npz", 1)
    opened = session(tmp_path / "store", tiny_job(**SHORT, data_source=source))

    def changing(done: int) -> None:
        samples(tmp_path / "a.npz", 2, rows=61)

    with pytest.raises(InputsChanged, match="it has changed while it was cut"):
        opened.cut_data(changing)
    assert areas(tmp_path / "store") == []
    assert opened.cut_data().train_samples == 49
    (digest,) = areas(tmp_path / "store")
    assert digest == opened.area
    assert [each.name for each in (tmp_path / "store" / keys.SHARED).iterdir()] == [digest]


def test_a_planted_spec_leads_no_job_to_data_that_its_spec_does_not_name(tmp_path: Path) -> None:
    """The name of a job follows from its YAML, and its spec in the store says where its data is."""
    other = session(tmp_path, tiny_job(data_source="sklearn:wine"))
    other.cut_data()
    job = tiny_job(**SHORT)
    opened = session(tmp_path, job)
    cut.write_spec(ResolvedJob(job, opened.prefix, area=other.area), opened.store)
    opened.cut_data()
    assert opened.area != other.area
    opened.store.delete([keys.spec(opened.prefix)])
    cut.write_spec(ResolvedJob(job, opened.prefix, area=other.area), opened.store)
    opened.store.create(keys.commit(opened.prefix, 0), b"{}")
    with pytest.raises(AlteredObject, match="is not about the data of job"):
        opened.cut_data()


def test_a_driver_refuses_a_spec_that_names_another_area(tmp_path: Path) -> None:
    found = place(session(tmp_path, tiny_job(**SHORT)), tmp_path)
    body = json.loads(bytes(found.store.read(keys.spec(found.resolved.prefix))))
    resolved = found.resolved
    found.store.delete([keys.spec(resolved.prefix)])
    found.store.create(keys.spec(resolved.prefix), json.dumps({**body, "sharedArea": "0" * 32}).encode())
    driver = Driver(resolved, found.manifest, found.store, None)  # type: ignore[arg-type]
    with pytest.raises(AlteredObject, match="sharedArea"):
        driver._documents()


def test_credentials_for_jobs_alone_cut_for_the_job_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = DirectoryStore.create

    def refusing(store: DirectoryStore, key: str, *args: Any, **options: Any) -> bool:
        if key.startswith(keys.SHARED):
            raise StoreError("AccessDenied")
        return create(store, key, *args, **options)

    monkeypatch.setattr(DirectoryStore, "create", refusing)
    opened = session(tmp_path, tiny_job(**SHORT))
    assert opened.cut_data().train_samples == 120
    assert opened.area is None
    monkeypatch.undo()
    assert opened.cut_data().train_samples == 120
    assert opened.area is None, "it stays with what it began with"


def test_a_run_in_a_store_that_was_emptied_by_hand_cuts_again(tmp_path: Path) -> None:
    job = tiny_job(**SHORT)
    with open_session(job, {}, store=str(tmp_path / "store")) as opened:
        opened.cut_data()
        opened.store.delete_prefix(keys.SHARED)
        manifest = opened.cut_data()
        assert opened.store.exists(manifest_key(opened.resolved.data_prefix))
        assert manifest.train_samples == 120


def search(path: Path, job: TuningJob) -> tuning.TuningSession:
    opened = tuning.TuningSession(tuning.uid_of(job), job, open_store(str(path)), path.as_uri())
    opened.write_spec()
    cut.cut(opened.settle(), opened.store)
    return opened


def test_searches_and_jobs_of_the_same_data_share_what_one_has_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = {"template": {"spec": document(**SHORT)["spec"]}}
    first = search(tmp_path, iris_search(**template))
    monkeypatch.setattr(cut, "cut_blocks", None)  # the source is not read again
    second = search(
        tmp_path,
        iris_search(**template, maxTrials=7, objective={"metric": "accuracy", "direction": "Maximize"}),
    )
    job = session(tmp_path, tiny_job(**SHORT))
    job.cut_data()
    (digest,) = areas(tmp_path)
    assert first.area == second.area == first.as_job.area == job.area == digest
    assert first.manifest() == second.manifest() == find_manifest(job)
    assert users(tmp_path, digest) == {first.uid, second.uid, job.uid}
    assert len({first.uid, second.uid, job.uid}) == 3
    for each in (first, job):
        each.forget()
        assert areas(tmp_path) == [digest]
    second.forget()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_search_moves_on_with_its_source_until_its_first_trial_has_begun(tmp_path: Path) -> None:
    source, store = samples(tmp_path / "a.npz", 1), tmp_path / "store"
    job = iris_search(template={"spec": document(**SHORT, data_source=source)["spec"]})
    before = search(store, job).area
    samples(tmp_path / "a.npz", 2)
    moved = search(store, job)
    assert moved.area not in (None, before)
    assert areas(store) == [moved.area]
    moved.store.create(keys.commit(keys.trial(moved.prefix, 0), 0), b"{}")
    samples(tmp_path / "a.npz", 3)
    assert moved.settle().area == moved.area
    with pytest.raises(InputsChanged):
        moved.check_inputs({})


def test_a_search_that_is_forgotten_half_way_is_forgotten_by_the_next_try(tmp_path: Path) -> None:
    opened = search(tmp_path, iris_search())
    (digest,) = areas(tmp_path)

    forget_half_way(opened)
    assert opened.area == digest
    opened.forget()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
