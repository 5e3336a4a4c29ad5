"""Versions that are computed again and compared."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers import virtual_loop
from helpers.functions import Functions
from helpers.jobs import Place, Simulation, document, make_place, tiny_job

from sapflow.client.session import Session, uid_of
from sapflow.driver.replay import Replay
from sapflow.driver.verification import RANK_STATES, Verification, Verified
from sapflow.errors import DataError
from sapflow.objects import keys
from sapflow.objects.stores.directory import DirectoryStore
from sapflow.objects.stores.overlay import OverlayStore
from sapflow.objects.stores.protocol import Buffer, Store
from sapflow.records.commits import Commit
from sapflow.spec.document import parse

JOBS: dict[str, dict[str, Any]] = {
    "momentum, clipped, in two shards": {
        "model_args": {"hidden": [600]},
        "merge_shards": 2,
        "optimizer_clipNorm": 0.5,
    },
    "Adam": {"optimizer_name": "Adam"},
    "local steps": {"algorithm_localSteps": 2},
    "states of ranks": {"algorithm_localSteps": 2, "algorithm_localState": "Keep"},
    "asynchronous": {"algorithm_mode": "Async", "merge": None, "algorithm_steps": 3},
    "plateau by validation": {
        "optimizer_schedule": {"name": "Plateau", "metric": "ValidationLoss", "patience": 1, "factor": 0.5}
    },
    "plateau by training": {
        "optimizer_schedule": {"name": "Plateau", "metric": "TrainingLoss", "patience": 1, "stepSize": 2}
    },
    "steps left out": {"optimizer_learningRate": 1e37, "algorithm_onNaN": "Skip", "limits_skippedSteps": 100},
}


def verify(
    place: Place, versions: Sequence[int], scratch: Path | Store, staleness: int = 4
) -> list[Verified]:
    upper = DirectoryStore(str(scratch)) if isinstance(scratch, Path) else scratch
    store = OverlayStore(upper, place.store)

    @asynccontextmanager
    async def replays() -> AsyncIterator[Replay]:
        yield Replay(place.resolved, store, Functions(store, 0, {}, 0.0, lambda write, after: None))

    async def scenario() -> list[Verified]:
        verification = Verification(store, keys.job(place.uid), replays, staleness)
        return [each async for each in verification.run(versions)]

    return virtual_loop.run(scenario())


def snapshot(path: Path) -> dict[str, bytes]:
    return {str(each.relative_to(path)): each.read_bytes() for each in path.rglob("*") if each.is_file()}


@pytest.mark.parametrize("name", JOBS)
def test_all_versions_are_the_same_again_from_the_seed_and_nothing_of_the_job_changes(
    tmp_path: Path, name: str
) -> None:
    place = make_place(tmp_path / "job", tiny_job(**JOBS[name]))
    Simulation(place).run()
    before = snapshot(tmp_path / "job")
    last = max(commit.version for commit in place.commits())
    found = verify(place, range(last + 1), tmp_path / "scratch")
    assert found == [Verified(version, "Same") for version in range(last + 1)]
    assert snapshot(tmp_path / "job") == before
    if name == "steps left out":
        assert any(commit.skipped for commit in place.commits())


def kept(path: Path, **changes: Any) -> Place:
    place = make_place(path, tiny_job(algorithm_steps=8, checkpoint={"everySteps": 3, "keep": 5}, **changes))
    Simulation(place).run()
    return place


class Noting(DirectoryStore):
    """Notes the keys of what is written."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.written: list[str] = []

    def create(self, key: str, parts: Buffer | Sequence[Buffer], *, durable: bool = False) -> bool:
        self.written.append(key)
        return super().create(key, parts, durable=durable)


def test_a_version_is_computed_from_the_nearest_kept_one_and_nothing_is_left(tmp_path: Path) -> None:
    place = kept(tmp_path / "job")
    scratch = Noting(str(tmp_path / "scratch"))
    assert verify(place, [5], scratch) == [Verified(5, "Same")]
    params = [key.rpartition("/")[2].partition("-")[0] for key in scratch.written if keys.is_params(key)]
    assert params == ["4", "5"]
    assert list(scratch.list("")) == []


def damaged(place: Place, key: str) -> None:
    """Put an object of other values under a key."""
    content = bytearray(place.store.read(key))
    content[-1] ^= 1
    place.store.delete([key])
    place.store.create(key, bytes(content))


def rewritten(place: Place, commit: Commit) -> None:
    key = keys.commit(keys.job(place.uid), commit.version)
    place.store.delete([key])
    place.store.create(key, commit.encode())


def test_what_differs_is_named_and_what_follows_is_computed_from_the_next_kept_version(
    tmp_path: Path,
) -> None:
    place = kept(tmp_path / "job")
    commit = place.commit(4)
    assert commit.sha256 is not None
    wrong = commit.sha256.model_copy(update={"optimizer": ["0" * 64]})
    rewritten(place, commit.model_copy(update={"sha256": wrong}))
    found = verify(place, range(1, 9), tmp_path / "scratch")
    assert [each.state for each in found] == ["Same"] * 3 + ["Differs"] + ["NotCompared"] * 2 + ["Same"] * 2
    assert found[3].objects == (commit.optimizer[0].key,)
    assert found[4].note == "it follows from version 4, which differs here and is not kept"


def test_a_replaced_object_is_told_from_a_version_that_cannot_be_computed_again(tmp_path: Path) -> None:
    place = kept(tmp_path / "job")
    (part,) = place.commit(6).params
    damaged(place, part.key)
    found = verify(place, [6, 7], tmp_path / "scratch")
    assert [(each.version, each.state) for each in found] == [(6, "Differs"), (7, "Same")]
    assert found[0].objects == (part.key,)
    assert "the store holds another object" in found[0].note
    # A version that stands on it is computed from an earlier one.
    assert verify(place, [7], tmp_path / "other") == [Verified(7, "Same")]


def test_commits_of_earlier_releases_are_compared_by_the_objects_that_are_kept(tmp_path: Path) -> None:
    place = kept(tmp_path / "job")
    for version in (5, 6):
        rewritten(place, place.commit(version).model_copy(update={"sha256": None}))
    found = verify(place, [5, 6], tmp_path / "scratch")
    assert [each.state for each in found] == ["NotCompared", "Same"]
    assert found[0].note == "its commit recorded no SHA-256, and its objects are gone"


def test_a_state_of_a_rank_that_differs_is_said(tmp_path: Path) -> None:
    place = kept(tmp_path / "job", algorithm_localSteps=2, algorithm_localState="Keep")
    commit = place.commit(8)
    assert commit.sha256 is not None
    rewritten(
        place, commit.model_copy(update={"sha256": commit.sha256.model_copy(update={"states": "0" * 64})})
    )
    (found,) = verify(place, [8], tmp_path / "scratch")
    assert (found.state, found.objects) == ("Differs", (RANK_STATES,))


def test_a_change_of_the_plan_and_of_the_workers_is_made_again(tmp_path: Path) -> None:
    place = make_place(tmp_path / "job", tiny_job(algorithm_steps=8, merge={"channel": "Store"}))
    stopped = Simulation(place)

    class Enough(Exception):
        pass

    class Stop(type(stopped.observer)):  # type: ignore[misc]
        def committed(self, commit: Commit) -> None:
            if commit.version == 3:
                raise Enough

    stopped.observer = Stop()
    with pytest.raises(Enough):
        stopped.run()
    Simulation(place, workers=3).run()
    assert any(commit.dealt is not None for commit in place.commits())
    found = verify(place, range(9), tmp_path / "scratch")
    assert [each.state for each in found] == ["Same"] * 9


def test_a_forks_own_versions_are_computed_from_its_first(tmp_path: Path) -> None:
    place = kept(tmp_path / "job")
    body = document(algorithm_steps=8, checkpoint={"everySteps": 3, "keep": 5})
    body["spec"]["from"] = {"job": place.uid, "version": 6}
    job = parse(body)
    session = Session(uid_of(job), job, place.store, place.path.as_uri())
    forked = Place(job, session.uid, session.cut_data(), place.store, place.path)
    Simulation(forked).run()
    assert verify(forked, [7, 8], tmp_path / "scratch") == [Verified(7, "Same"), Verified(8, "Same")]
    assert verify(forked, [6], tmp_path / "other") == [Verified(6, "Same")]
    place.store.delete([part.key for part in (*forked.commit(6).params, *place.commit(6).params)])
    with pytest.raises(
        DataError, match=f"version 6 was copied from job {place.uid}, and neither job keeps it"
    ):
        verify(forked, [7], tmp_path / "third")


def test_another_learning_rate_in_a_commits_job_would_be_found(tmp_path: Path) -> None:
    """What the test compares is computed: a store whose parameters are others has other versions after them."""
    place = kept(tmp_path / "job")
    commit = place.commit(6)
    (part,) = commit.params
    damaged(place, part.key)
    rewritten(place, commit.model_copy(update={"sha256": None}))
    (found,) = verify(place, [7], tmp_path / "scratch")
    assert (found.state, set(found.objects)) == (
        "Differs",
        {each.key for each in (*place.commit(7).params, *place.commit(7).optimizer)},
    )
