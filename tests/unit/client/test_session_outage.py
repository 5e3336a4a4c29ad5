"""A run on this machine waits, too, where its store seems to have lost objects."""

from pathlib import Path
from typing import Any

import pytest
from helpers import virtual_loop
from helpers.jobs import Place, Simulation, make_place, tiny_job
from helpers.tapped_store import Write

from sapflow.client import session
from sapflow.client.session import Session
from sapflow.errors import JobFailed, ObjectMissing
from sapflow.objects import keys


class Closable:
    """Simulated functions with the end that a sender has."""

    def __init__(self, place: Place) -> None:
        self.functions = Simulation(place).functions

    def __getattr__(self, name: str) -> Any:
        return getattr(self.functions, name)

    async def close(self) -> None:
        self.functions.end_instances()


def train(place: Place, sender: Closable) -> dict[str, Any]:
    opened = Session(place.uid, place.job, place.store, place.path.as_uri())
    return virtual_loop.run(session.train_by(opened, place.manifest, sender))


@pytest.mark.parametrize("times", [5, 1000])
def test_what_a_store_finds_again_within_half_a_minute_fails_no_run(
    tmp_path: Path, times: int, caplog: pytest.LogCaptureFixture
) -> None:
    place = make_place(tmp_path / "store", tiny_job())
    sender, left = Closable(place), [times]

    def lose(write: Write, after: bool) -> None:
        if after and "/1-1.0" in write.key and left[0]:
            left[0] -= 1
            place.store.delete([write.key])

    sender.functions.failpoint = lose
    if times < 1000:
        assert train(place, sender)["version"] == place.job.spec.algorithm.steps
        assert "in case the store finds what it has lost" in caplog.text
    else:
        with pytest.raises(JobFailed) as caught:
            train(place, sender)
        assert caught.value.reason == "ObjectMissing"


def test_a_run_whose_commits_are_gone_fails_and_does_not_begin_anew(tmp_path: Path) -> None:
    place = make_place(tmp_path / "store", tiny_job())
    sender, writes, prefix = Closable(place), [0], keys.job(place.uid)

    def forget(write: Write, after: bool) -> None:
        writes[0] += after
        if writes[0] == 12:
            place.store.delete_prefix(f"{prefix}commits/")
            raise ObjectMissing(write.key)

    sender.functions.failpoint = forget
    with pytest.raises(ObjectMissing, match=r"version [1-9]\d* was committed: somebody has removed"):
        train(place, sender)
    assert not place.store.exists(keys.commit(prefix, 0))


def test_a_last_commit_that_the_store_has_lost_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make_place(tmp_path / "store", tiny_job())
    sender, prefix = Closable(place), keys.job(place.uid)
    misses, delete = [10], place.store.delete
    # What a dying store was asked to remove is still there.
    monkeypatch.setattr(place.store, "delete", lambda names: None if misses[0] else delete(names))

    def lose(write: Write, after: bool) -> None:
        if misses[0] and after and "/3-" in write.key:
            misses[0] -= 1
            delete([keys.commit(prefix, 2)])
            raise ObjectMissing(write.key)

    sender.functions.failpoint = lose
    outcome = train(place, sender)
    assert not misses[0]
    assert outcome["version"] == place.job.spec.algorithm.steps
    assert place.store.exists(keys.commit(prefix, 2))
