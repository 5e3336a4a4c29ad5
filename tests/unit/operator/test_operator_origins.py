"""What the operator grants of a search: a trial's version to a fork, and its results to a later search."""

import asyncio
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from helpers.jobs import Place, document, make_search_place, tiny_job
from helpers.memory_cluster import MemoryCluster
from helpers.operator_settings import SETTINGS
from helpers.search_runs import RATE, TEMPLATE, Searching, iris_search

from sapflow.errors import SpecError
from sapflow.objects import keys
from sapflow.objects.stores.credentials import Credentials
from sapflow.objects.stores.factory import open_store
from sapflow.records.commits import Records
from sapflow.spec import resolved_search
from sapflow.spec.resolved_search import ResolvedSearch
from sapflow.tuning import spec_record
from sapflow.tuning.search import Search
from sapflow.tuning.warm_start import warm_results
from sapflow_operator import names
from sapflow_operator.controller import Controller
from sapflow_operator.kind import Kind
from sapflow_operator.kinds.training_job import TRAINING_JOB
from sapflow_operator.kinds.tuning_job import TUNING_JOB
from sapflow_operator.store import credentials, origin, shared_data
from sapflow_operator.store.policy import session_policy

STORAGE = {"endpoint": "http://minio:9000", "bucket": "sapflow", "secretName": "s"}
DONE = [{"type": "Succeeded", "status": "True", "reason": "Completed"}]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Search, dict[str, Any]]:
    """A search whose trials begin at versions of others, as it has ended."""
    place = make_search_place(tmp_path_factory.mktemp("search"), tiny_job(**TEMPLATE))
    job = iris_search(
        template={"spec": document(**{**TEMPLATE, "algorithm_steps": 6})["spec"]},
        prune={"name": "PBT", "first": 2, "interval": 2, "quantile": 0.5},
        parallelTrials=4,
        maxTrials=4,
    )
    search, outcome = Searching(place, job).run()
    return place, search, outcome


class World:
    """A cluster with a search, and what its operator asks the store for."""

    def __init__(
        self, found: tuple[Place, Search, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, **status: Any
    ) -> None:
        self.place, self.search, outcome = found
        self.cluster = MemoryCluster()
        body = iris_search().to_json()["spec"]
        body["template"]["spec"]["storage"] = STORAGE
        ended = {"conditions": DONE, "result": {"trial": outcome["trial"], "version": outcome["version"]}}
        self.put(names.TUNING_JOB.kind, "earlier", body, uid=self.place.uid)["status"] = status or ended
        self.cluster.add("Secret", "s", data={"access-key": "a2V5", "secret-key": "c2VjcmV0"})
        self.granted: list[list[str]] = []
        path = str(self.place.path)
        for module in (origin, shared_data):
            monkeypatch.setattr(module, "open_store", lambda url, owner: open_store(path))
        monkeypatch.setattr(credentials.Issuer, "issue", self._issue)

    def put(self, kind: str, name: str, spec: dict[str, Any], uid: str) -> dict[str, Any]:
        known = {"uid": uid, "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"}
        return self.cluster.add(kind, name, spec=spec, status={}, metadata=known)

    def _issue(self, uid: str, *given: Any) -> credentials.Issued:
        self.granted.append(list(given[-2]))
        return credentials.Issued("shared", Credentials("key", "secret"))

    def fork(self, trial: str, version: int) -> tuple[str, str, str]:
        """The condition Planned, or of a failed job Succeeded, of a job that begins at a trial's version."""
        spec = {**document(**TEMPLATE)["spec"], "storage": STORAGE}
        spec["from"] = {"job": f"earlier/trials/{trial}", "version": version}
        self.put(names.KIND, "fork", spec, uid="uid-fork")
        return self._reconcile(TRAINING_JOB, "fork")

    def later(self, **spec: Any) -> tuple[str, str, str]:
        """The same of a search that knows the results of the earlier one."""
        body = iris_search(warmStartFrom="earlier", **spec).to_json()["spec"]
        body["template"]["spec"]["storage"] = STORAGE
        self.put(names.TUNING_JOB.kind, "later", body, uid="uid-later")
        return self._reconcile(TUNING_JOB, "later")

    def trained(self, **changes: Any) -> tuple[str, str, str]:
        """The same of a job that is trained with the parameters of a trial of the search."""
        spec = {**document(**TEMPLATE)["spec"], "storage": STORAGE, "parametersFrom": {"search": "earlier"}}
        self.put(names.KIND, "trained", spec | changes, uid="uid-trained")
        return self._reconcile(TRAINING_JOB, "trained")

    def _reconcile(self, kind: Kind[Any], name: str) -> tuple[str, str, str]:
        asyncio.run(Controller(SETTINGS, self.cluster, kind).reconcile("team", name))
        known = self.cluster.objects[kind.resource.kind, name]["status"]["conditions"]
        by_type = {each["type"]: (each["status"], each["reason"], each.get("message", "")) for each in known}
        return by_type["Succeeded"] if by_type["Succeeded"][0] == "False" else by_type["Planned"]

    def status(self, kind: str, name: str) -> dict[str, Any]:
        return dict(self.cluster.objects[kind, name]["status"])

    def told(self, pool: str) -> dict[str, Any]:
        config = self.cluster.objects["ConfigMap", names.spec_config_map(pool)]
        return dict(json.loads(config["data"][names.JOB_KEY]))

    def read(self) -> list[str]:
        """All keys of the store that what was granted opens."""
        patterns = self.granted[-1]
        prefix = keys.job(self.place.uid)
        return [
            each.key
            for each in self.place.store.list(prefix)
            if any(_fits(each.key, one) for one in patterns)
        ]


def _fits(key: str, pattern: str) -> bool:
    head, star, tail = pattern.partition("*")
    return key == pattern if not star else key.startswith(head) and (_tail(key, tail) if tail else True)


def _tail(key: str, tail: str) -> bool:
    return tail.rstrip("*") in key


def test_a_fork_of_a_trial_may_read_its_version_and_nothing_else_of_the_search(
    found: tuple[Place, Search, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(found, monkeypatch)
    trial = next(each for each in world.search.trials if each.phase == "Finished" and each.origin is None)
    assert world.fork(str(trial.number), trial.version)[0] == "True"
    prefix = keys.trial(keys.job(world.place.uid), trial.number)
    commit = asyncio.run(Records(world.place.store, prefix).commit(trial.version))
    assert commit is not None
    wanted = {
        keys.spec(prefix), keys.commit(prefix, 0), keys.commit(prefix, trial.version),
        keys.plan(prefix, commit.plan), *commit.objects(prefix),
    }  # fmt: skip
    assert set(world.read()) == wanted
    assert world.told("fork")["parent"] == f"{world.place.uid}/trials/{trial.number}"
    assert world.status(names.KIND, "fork")["origin"]["trial"] == trial.number
    policy = session_policy("sapflow", "u" * 36, "s3://data/train", (), "s3://data/held", world.granted[0])
    assert len(json.dumps(policy, separators=(",", ":"))) <= 2048


def test_of_a_trial_that_stands_on_anothers_objects_those_may_be_read(
    found: tuple[Place, Search, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(found, monkeypatch)
    forked = next(
        each for each in world.search.trials if each.origin is not None and each.phase == "Finished"
    )
    assert forked.origin is not None
    prefix = keys.trial(keys.job(world.place.uid), forked.number)
    begun = asyncio.run(Records(world.place.store, prefix).commit(forked.origin.version))
    assert begun is not None
    others = [key for key in begun.objects(prefix) if not key.startswith(prefix)]
    assert others
    for key in begun.objects(prefix):
        world.place.store.create(key, b"kept")
    assert world.fork(str(forked.number), forked.origin.version)[0] == "True"
    assert set(begun.objects(prefix)) <= set(world.read())
    source = keys.trial(keys.job(world.place.uid), forked.origin.trial)
    assert keys.spec(source) not in world.read()


def test_the_best_trial_is_that_of_the_result(
    found: tuple[Place, Search, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, outcome = World(found, monkeypatch), found[2]
    assert world.fork("best", outcome["version"])[0] == "True"
    assert world.told("fork")["parent"] == f"{world.place.uid}/trials/{outcome['trial']}"


def test_a_trial_of_a_search_at_work_is_forked_once_it_has_ended_itself(
    found: tuple[Place, Search, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = next(each for each in found[1].trials if each.phase == "Finished")
    world = World(found, monkeypatch, conditions=[])
    assert world.fork(str(trial.number), trial.version)[0] == "True"
    world = World(found, monkeypatch, conditions=[])
    status, reason, message = world.fork(str(trial.number), trial.version - 1)
    assert (status, reason) == ("False", "OriginUnusable")
    assert "earlier has not finished, and may remove version" in message
    assert world.fork("best", 4)[2].startswith("spec.from.job: earlier has not ended, so its best trial")
    assert not world.granted


@pytest.mark.parametrize(
    ("trial", "version", "said"),
    [
        ("99", 2, "spec.from.version: the trial 99 of search .* has no version 2: nothing of it is trained"),
        ("0", 77, "spec.from.version: the trial 0 of search .* has no version 77"),
    ],
)
def test_a_version_that_is_not_there_fails_the_fork_by_field(
    found: tuple[Place, Search, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    trial: str,
    version: int,
    said: str,
) -> None:
    status, reason, message = World(found, monkeypatch).fork(trial, version)
    assert (status, reason) == ("False", "InvalidSpec")
    assert re.search(said, message), message


def test_a_later_search_may_read_spec_and_log_of_the_earlier_one_and_nothing_else(
    found: tuple[Place, Search, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(found, monkeypatch)
    assert world.later()[0] == "True"
    prefix = keys.job(world.place.uid)
    assert world.granted == [[keys.spec(prefix), f"{keys.search_log(prefix)}*"]]
    told = resolved_search.read(world.told("later-tune"), keys.job("uid-later"))
    assert told.warm_start == world.place.uid
    assert told.job.spec.warm_start_from == "earlier"
    policy = session_policy("sapflow", "uid-later", "sklearn:iris", origin=world.granted[0])
    (listed,) = [each for each in policy["Statement"] if each["Action"] == ["s3:ListBucket"]]
    # A record that is not there yet is no forbidden one.
    assert f"{keys.search_log(prefix)}*" in listed["Condition"]["StringLike"]["s3:prefix"]
    # From now on the earlier search may go.
    del world.cluster.objects[names.TUNING_JOB.kind, "earlier"]
    world.cluster.objects.pop(("Secret", names.pool_secret("later-tune")))
    assert world._reconcile(TUNING_JOB, "later")[0] == "True"
    assert world.granted[1] == world.granted[0]


@pytest.mark.parametrize(
    ("status", "suspend", "planned"),
    [({"conditions": []}, False, "False"), ({"conditions": []}, True, "True"), ({}, False, "True")],
)
def test_an_earlier_search_is_waited_for_until_it_has_ended_or_is_suspended(
    found: tuple[Place, Search, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    status: dict[str, Any],
    suspend: bool,
    planned: str,
) -> None:
    world = World(found, monkeypatch, **status)
    world.cluster.objects[names.TUNING_JOB.kind, "earlier"]["spec"]["suspend"] = suspend
    condition = world.later()
    assert condition[0] == planned
    if planned == "False":
        assert condition[1] == "OriginUnusable"
        assert "spec.warmStartFrom: earlier has neither ended nor been suspended" in condition[2]


def test_an_earlier_search_that_is_not_there_is_waited_for_with_a_remedy(
    found: tuple[Place, Search, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(found, monkeypatch)
    del world.cluster.objects[names.TUNING_JOB.kind, "earlier"]
    status, reason, message = world.later()
    assert (status, reason) == ("False", "OriginUnusable")
    assert "spec.warmStartFrom: there is no TuningJob earlier in namespace team" in message
    assert "spec.initial" in message


def test_an_earlier_search_for_something_else_is_refused_by_field_and_remedy(
    found: tuple[Place, Search, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(found, monkeypatch)
    status, reason, message = world.later(objective={"metric": "accuracy", "direction": "Maximize"})
    assert (status, reason) == ("False", "InvalidSpec")
    assert "spec.warmStartFrom: earlier has other objectives, loss (Minimize): name a search" in message
    world = World(found, monkeypatch)
    earlier = world.cluster.objects[names.TUNING_JOB.kind, "earlier"]["spec"]
    earlier["template"]["spec"]["storage"] = {**STORAGE, "bucket": "other"}
    assert "name that one in spec.template.spec.storage" in world.later()[2]


def test_a_job_is_trained_with_the_parameters_of_the_best_trial_and_may_read_nothing_of_the_search(
    found: tuple[Place, Search, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, outcome = World(found, monkeypatch), found[2]
    assert world.trained()[0] == "True"
    spec = world.told("trained")["spec"]
    assert spec["optimizer"]["learningRate"] == outcome["parameters"][RATE]
    assert spec["parametersFrom"] == {"search": "earlier", "trial": outcome["trial"]}
    assert "parent" not in world.told("trained")
    assert world.granted == [[]]
    origin = world.status(names.KIND, "trained")["origin"]
    assert origin["parameters"] == outcome["parameters"]
    assert origin["objects"] == []


def test_a_job_keeps_its_parameters_when_the_search_is_gone_or_finds_better_ones(
    found: tuple[Place, Search, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(found, monkeypatch)
    world.trained()
    before = world.told("trained")
    del world.cluster.objects[names.TUNING_JOB.kind, "earlier"]
    assert world._reconcile(TRAINING_JOB, "trained")[0] == "True"
    assert world.told("trained") == before


def test_a_named_trial_is_taken_as_its_own_spec_has_it(
    found: tuple[Place, Search, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, (_, search, outcome) = World(found, monkeypatch), found
    other = next(
        each for each in search.trials if each.phase == "Finished" and each.number != outcome["trial"]
    )
    assert world.trained(parametersFrom={"search": "earlier", "trial": other.number})[0] == "True"
    assert world.told("trained")["spec"]["optimizer"]["learningRate"] == other.parameters[RATE]
    world = World(found, monkeypatch)
    status, reason, message = world.trained(parametersFrom={"search": "earlier", "trial": 99})
    assert (status, reason) == ("False", "InvalidSpec")
    assert "spec.parametersFrom.trial" in message
    assert "name another, or leave it out for the best one" in message


def test_a_job_waits_for_a_search_that_has_not_ended_and_is_looked_at_once_it_has(
    found: tuple[Place, Search, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(found, monkeypatch, conditions=[])
    status, reason, message = world.trained()
    assert (status, reason) == ("False", "OriginUnusable")
    assert "spec.parametersFrom.search: earlier has not ended" in message
    assert not world.granted

    async def ends() -> list[str]:
        controller = Controller(SETTINGS, world.cluster, TRAINING_JOB)
        controller.seen(world.cluster.objects[names.KIND, "trained"])
        looked: list[str] = []
        monkeypatch.setattr(controller, "touch", lambda namespace, name: looked.append(name))
        controller.source_changed(names.TUNING_JOB, "team", "another")
        controller.source_changed(names.TUNING_JOB, "elsewhere", "earlier")
        assert not looked
        controller.source_changed(names.TUNING_JOB, "team", "earlier")
        return looked

    assert asyncio.run(ends()) == ["trained"]


def test_a_search_that_is_not_there_is_told_with_what_helps(
    found: tuple[Place, Search, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(found, monkeypatch)
    del world.cluster.objects[names.TUNING_JOB.kind, "earlier"]
    status, reason, message = world.trained()
    assert (status, reason) == ("False", "OriginUnusable")
    assert "there is no TuningJob earlier in namespace team" in message
    assert "write its best parameters into the job" in message


def test_a_search_that_found_nothing_fails_the_job_that_needs_its_parameters(
    found: tuple[Place, Search, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(found, monkeypatch)
    failed = {"type": "Succeeded", "status": "False", "reason": "TooManyFailed"}
    world.cluster.objects[names.TUNING_JOB.kind, "earlier"]["status"] = {"conditions": [failed]}
    monkeypatch.setattr(origin, "read_found", lambda *given: None)
    status, reason, message = world.trained()
    assert (status, reason) == ("False", "InvalidSpec")
    assert "earlier has failed and has no result" in message


def test_results_that_fit_the_later_search_are_known_to_it_until_it_has_begun(
    found: tuple[Place, Search, dict[str, Any]],
) -> None:
    place, search, _ = found
    store = open_store(str(place.path))
    earlier = ResolvedSearch(
        iris_search(
            template={"spec": document(**{**TEMPLATE, "algorithm_steps": 6})["spec"]},
            prune={"name": "PBT", "first": 2, "interval": 2, "quantile": 0.5},
            parallelTrials=4,
            maxTrials=4,
        ),
        keys.job("a-search"),
    )
    for each in store.list(keys.search_log(keys.job(place.uid))):
        name = each.key.removeprefix(keys.job(place.uid))
        store.create(f"{earlier.prefix}{name}", bytes(store.read(each.key)))
    spec_record.write_spec(earlier, store)
    later = ResolvedSearch(iris_search(warmStartFrom="a-search"), keys.job("b-search"))

    def results(one: ResolvedSearch) -> list[Any]:
        return list(asyncio.run(warm_results(store, one, "a-search")))

    finished = [each for each in search.trials if each.phase == "Finished"]
    assert results(later) == [(each.parameters, each.values) for each in finished]
    least = min(float(each.parameters[RATE]) for each in finished)
    narrow = [{"path": RATE, "float": {"min": least * 1.001, "max": 1.0, "log": True}}]
    assert len(results(replace(later, job=iris_search(warmStartFrom="a-search", parameters=narrow)))) == (
        len(finished) - 1
    )
    other = iris_search(warmStartFrom="a-search", objective={"metric": "accuracy", "direction": "Maximize"})
    with pytest.raises(SpecError, match=r"spec\.warmStartFrom: is 'a-search', which has other objectives"):
        results(replace(later, job=other))
    with pytest.raises(SpecError, match="holds no such search"):
        asyncio.run(warm_results(store, later, "absent"))
    store.create(keys.search_record(later.prefix, 0), b"[]")
    assert results(later) == []
