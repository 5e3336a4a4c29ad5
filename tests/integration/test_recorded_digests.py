"""Commits record the SHA-256 of the objects that a version stands on, whatever happens to the calls that write them."""

import hashlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.functions import Fault
from helpers.jobs import Place, Simulation, make_place, tiny_job

from sapflow import timing
from sapflow.cpu_capability import cpu_capability
from sapflow.objects import keys
from sapflow.records import digests
from sapflow.records.commits import Commit
from sapflow.steps.observer import Observer

JOBS: dict[str, dict[str, Any]] = {
    "momentum": {},
    "two shards": {"model_args": {"hidden": [600]}, "merge_shards": 2, "optimizer_name": "Adam"},
    "states of ranks": {"algorithm_localSteps": 2, "algorithm_localState": "Keep"},
    "asynchronous": {"algorithm_mode": "Async", "merge": None},
}


class Kept(Observer):
    """Hashes what each commit names at the moment it is written, before anything of it is removed."""

    def __init__(self, place: Place) -> None:
        self.place, self.seen = place, dict[int, tuple[dict[str, str], str | None]]()

    def committed(self, commit: Commit) -> None:
        store, prefix = self.place.store, keys.job(self.place.uid)

        def sha256(key: str) -> str:
            return hashlib.sha256(store.read(key)).hexdigest()

        named = {part.key: sha256(part.key) for part in (*commit.params, *commit.optimizer)}
        ranks = {
            rank: sha256(keys.rank_state(prefix, each.version, each.id, rank))
            for each in commit.states or ()
            if each.version == commit.version
            for start, stop in each.ranks
            for rank in range(start, stop)
        }
        self.seen[commit.version] = named, digests.of_states(ranks)


@pytest.mark.parametrize("name", JOBS)
def test_each_commit_has_the_sha256_of_what_it_names(tmp_path: Path, name: str) -> None:
    place = make_place(tmp_path, tiny_job(**JOBS[name]))
    kept = Kept(place)
    # Whoever answers last, once more or never: what is recorded is what stands.
    faults = {3: Fault("twice"), 7: Fault("lose"), 12: Fault("interleave"), 15: Fault("twice")}
    Simulation(place, faults, observer=kept).run()
    commits = list(place.commits())
    assert len(commits) > 3
    for commit in commits:
        assert commit.sha256 is not None
        assert (commit.digests, commit.sha256.states) == kept.seen[commit.version]
    assert commits[1].measured.cpus == [cpu_capability()]
    assert (commits[1].measured.libraries or {})["numpy"] == [np.__version__]


def test_no_key_follows_from_recorded_digests_and_commits_without_any_are_read(tmp_path: Path) -> None:
    place = make_place(tmp_path, tiny_job(algorithm_steps=1))
    Simulation(place).run()
    commit = place.commit(1)
    body = commit.body()
    del body["sha256"]
    del body["measured"]["cpus"]
    earlier = Commit.model_validate(body)
    assert (earlier.digest, earlier.digests) == (commit.digest, {})


def test_a_pool_of_several_kinds_of_cpus_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place = make_place(tmp_path, tiny_job(algorithm_steps=3))
    kinds = itertools.chain(["x86_64 avx2"] * 9, itertools.repeat("x86_64 avx512f"))
    monkeypatch.setattr(timing, "cpu_capability", lambda: next(kinds))
    Simulation(place).run()
    warned = [each.getMessage() for each in caplog.records if "bits may depend" in each.getMessage()]
    assert len(warned) == 1
    assert "x86_64 avx512f" in warned[0]
    assert "and the job so far on x86_64 avx2" in warned[0]
    assert place.commit(3).measured.cpus == ["x86_64 avx512f"]
