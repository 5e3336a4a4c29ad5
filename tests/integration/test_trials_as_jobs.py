"""Trials of a search are jobs for fork, verify, diff, export, predict, report and status. Functions are simulated; all
else is the commands' own."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers.cluster_api import ClusterApi
from helpers.commands import Done, Shell
from helpers.functions import Functions
from helpers.jobs import Place, Simulation, document
from helpers.search_runs import RATE, TEMPLATE, Searching, iris_search

import sapflow
from sapflow import Client, DataError, SpecError
from sapflow.client import tuning, verify
from sapflow.client.cluster_errors import JobUnknown
from sapflow.client.session import Session, open_session
from sapflow.objects.stores.factory import open_store
from sapflow.spec.document import parse
from sapflow.spec.resolved import ResolvedJob
from sapflow.spec.tuning_job import TuningJob
from sapflow.tuning.search import Search
from sapflow.tuning.trial import Phase

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("forked_functions")]


class Closing(Functions):
    """Functions that can be ended as a runtime is."""

    async def close(self) -> None:
        return


@dataclass(frozen=True)
class Forked(Place):
    """A fork whose spec does not name its parent by the uid."""

    parent: str | None

    @property
    def resolved(self) -> ResolvedJob:
        return Session(self.uid, self.job, self.store, self.path.as_uri(), parent=self.parent).resolved


@dataclass(frozen=True)
class Template(Place):
    """The place of a search, whose data lies where the search says."""

    template: ResolvedJob

    @property
    def resolved(self) -> ResolvedJob:
        return self.template


@dataclass(frozen=True)
class Searched:
    """A search that has ended, its file, and its store."""

    job: TuningJob
    search: Search
    outcome: Mapping[str, Any]
    file: Path
    store: Path
    uid: str

    def number(self, *phases: Phase) -> int:
        """The first trial in one of these phases."""
        return next(each.number for each in self.search.trials if each.phase in phases)


def searched(path: Path, job: TuningJob) -> Searched:
    file, folder = path / "tune.yaml", path / "store"
    file.write_text(json.dumps(job.to_json()))
    opened = tuning.open_tuning(job, os.environ, store=str(folder))
    manifest = tuning.prepare(opened, os.environ, lambda text: None)
    assert manifest is not None
    place = Template(job.template, opened.uid, manifest, opened.store, folder, opened.template)
    search, outcome = Searching(place, job).run()
    return Searched(job, search, outcome, file, folder, opened.uid)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """A search with trials that were trained to their end and such as were paused."""
    template = document(**TEMPLATE, checkpoint={"everySteps": 2})["spec"]
    return searched(tmp_path_factory.mktemp("search"), iris_search(template={"spec": template}))


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    def functions(opened: Session, url: str, *rest: Any) -> Any:
        return Closing(open_store(url), 0, {}, 0.0, lambda write, after: None)

    monkeypatch.setattr(verify, "_runtime", functions)
    return Shell(capsys)


def asked(shell: Shell, found: Searched, command: str, *words: object) -> Done:
    return shell(command, *words, "--store", found.store)


def test_a_trial_is_verified_with_the_searchs_data(found: Searched, shell: Shell) -> None:
    number = found.number("Finished")
    done = asked(shell, found, "verify", f"{found.file}/trials/{number}")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == f"{found.uid}/trials/{number}: 5 versions the same"
    one = asked(shell, found, "verify", f"search/trials/{number}@3", "--json").json
    assert [(each["version"], each["state"]) for each in one["versions"]] == [(3, "Same")]


def test_a_fork_of_a_trial_goes_on_with_its_bits(found: Searched, shell: Shell, tmp_path: Path) -> None:
    number = found.number("Paused")
    trial = found.search.trials[number]
    file = tmp_path / "fork.yaml"
    done = asked(shell, found, "fork", f"{found.file}/trials/{number}", "-o", file, "--json")
    assert done.code == 0, done.err
    body = done.json
    assert body["spec"]["from"] == {"job": f"{found.uid}/trials/{number}", "version": trial.version}
    assert body["metadata"]["name"] == f"search-t{number}-v{trial.version}"
    assert body["spec"]["optimizer"]["learningRate"] == trial.parameters[RATE]

    session = open_session(parse(body), os.environ, store=str(found.store))
    forked = Place(session.job, session.uid, session.cut_data(), session.store, found.store)
    Simulation(forked).run()
    # The same steps by the trial itself, as a job of its own.
    alone = {**body, "spec": {name: value for name, value in body["spec"].items() if name != "from"}}
    whole = open_session(parse(alone), os.environ, store=str(tmp_path / "alone"))
    place = Place(whole.job, whole.uid, whole.cut_data(), whole.store, tmp_path / "alone")
    Simulation(place).run()
    ends = [list(each.commits() if each is place else [each.commit(4)])[-1] for each in (place, forked)]
    assert ends[0].sha256 == ends[1].sha256
    compared = asked(shell, found, "diff", f"{found.uid}/trials/{number}", forked.uid, "--output", "json")
    assert compared.code == 0, compared.err
    assert compared.json["compared"] == [trial.version, trial.version]
    assert asked(shell, found, "verify", forked.uid).code == 0


@dataclass(frozen=True)
class OfCluster:
    """The search as one of a cluster, in a copy of its store."""

    client: Client
    store: Path
    kubeconfig: Path


@pytest.fixture
def of_cluster(found: Searched, tmp_path: Path, api: ClusterApi, client: Client) -> OfCluster:
    store = tmp_path / "store"
    shutil.copytree(found.store, store)
    for path in store.glob(f"jobs/{found.uid}/**/spec.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "runtime": "kubernetes"}))
    body = found.job.to_json()
    body["metadata"] = {"name": "tune-it", "namespace": "team", "uid": found.uid, "resourceVersion": "1"}
    body["spec"]["template"]["spec"]["pods"] = {"priorityClassName": "low"}
    api.put({**body, "status": {"progress": {}}})
    return OfCluster(client, store, api.kubeconfig(tmp_path))


def test_a_fork_of_a_clusters_trial_has_the_fields_that_only_the_cluster_knows(
    found: Searched, of_cluster: OfCluster, shell: Shell, tmp_path: Path
) -> None:
    number, store = found.number("Finished"), of_cluster.store
    environ = {"KUBECONFIG": str(of_cluster.kubeconfig), "HOME": str(tmp_path)}
    words = ("fork", f"tune-it/trials/{number}", "-n", "team", "--store", store, "--json")
    done = shell(*words, "--set", "spec.algorithm.steps=8", environ=environ)
    assert done.code == 0, done.err
    assert done.json["spec"]["pods"] == {"priorityClassName": "low"}
    assert done.json["spec"]["from"]["job"] == f"search/trials/{number}"
    assert done.json["spec"]["optimizer"]["learningRate"] == found.search.trials[number].parameters[RATE]
    made = of_cluster.client.fork(f"tune-it/trials/{number}", {"spec.algorithm.steps": 8}, store=str(store))
    assert made.for_cluster() == done.json


def test_python_forks_a_clusters_best_trial_and_submits_it(
    found: Searched, of_cluster: OfCluster, api: ClusterApi
) -> None:
    client, store, best = of_cluster.client, str(of_cluster.store), found.outcome["trial"]
    longer = client.fork("tune-it/trials/best", {"spec.algorithm.steps": 8}, name="longer", store=store)
    client.submit(longer)
    submitted = api.jobs["team", "longer"]["spec"]
    assert submitted["from"] == {"job": f"search/trials/{best}", "version": found.outcome["version"]}
    assert submitted["algorithm"]["steps"] == 8
    with pytest.raises(SpecError, match=r"spec\.optimizer\.rate"):
        client.fork("tune-it/trials/best", {"spec.optimizer.rate": 1}, store=store)
    with pytest.raises(DataError, match="has no trial 99"):
        client.fork("tune-it/trials/99", store=store)
    with pytest.raises(JobUnknown):
        client.fork("absent/trials/1", store=store)


@pytest.mark.usefixtures("shell")
def test_python_verifies_and_compares_trials_of_a_cluster_and_of_a_store(
    found: Searched, of_cluster: OfCluster
) -> None:
    client, store, number = of_cluster.client, str(of_cluster.store), found.number("Finished")
    done = client.verify(f"tune-it/trials/{number}", "2..3", store=store)
    assert (done.same, done.count("Same"), done.remedy) == (True, 2, None)
    assert done.job == f"{found.uid}/trials/{number}"
    assert [each.version for each in done.versions] == [2, 3]
    assert sapflow.verify(f"search/trials/{number}", 3, store=found.store).same
    parted = client.diff("tune-it/trials/0", "tune-it/trials/1", store=store)
    assert parted.version == 1
    assert [each.kind for each in parted.reasons][:1] == ["spec"]
    assert sapflow.diff("search/trials/0", "search/trials/1", store=found.store) == parted
    same = client.diff(f"tune-it/trials/{number}", f"tune-it/trials/{number}", store=store)
    assert (same.version, same.reasons) == (None, ())
    with pytest.raises(DataError, match="versions '9': the job has versions 0 to 4"):
        client.verify(f"tune-it/trials/{number}", 9, store=store)


def test_two_trials_differ_by_their_parameters(found: Searched, shell: Shell) -> None:
    one, other = found.search.trials[0], found.search.trials[1]
    done = asked(shell, found, "diff", f"{found.uid}/trials/0", f"{found.uid}/trials/1")
    assert done.code == 1
    assert f"{found.uid}/trials/0 and {found.uid}/trials/1 part at version 1" in done.out
    assert f"{RATE}: {one.parameters[RATE]} and {other.parameters[RATE]}" in done.out


def test_best_is_the_trial_of_the_result(found: Searched, shell: Shell, tmp_path: Path) -> None:
    best = found.outcome["trial"]
    model = tmp_path / "best.safetensors"
    done = asked(shell, found, "export", "search/trials/best", "-o", model, "--json").json
    assert (done["job"], done["version"]) == (f"{found.uid}/trials/{best}", found.outcome["version"])
    assert done["sha256"] == found.outcome["sha256"]
    status = asked(shell, found, "status", "search/trials/best", "--json").json
    assert (status["state"], status["trial"]["number"]) == ("Succeeded", best)
    assert status["trial"]["objective"] == pytest.approx(found.outcome["objective"])
    rows = asked(shell, found, "predict", f"{found.file}/trials/best", "--json").json
    assert len(rows["predictions"]) == 10
    page = tmp_path / "report.html"
    done = asked(shell, found, "report", "search/trials/best", "-o", page, "--no-prediction")
    assert done.code == 0, done.err
    assert f"{found.uid}/trials/{best}" in page.read_text()


def test_the_file_of_an_export_is_named_by_search_trial_and_version(
    found: Searched, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert asked(shell, found, "export", "search/trials/0").code == 0
    (written,) = tmp_path.glob("*.safetensors")
    assert written.name.startswith(f"{found.uid}-trials-0@")


def test_the_status_of_a_trial_says_what_its_search_knows(found: Searched, shell: Shell) -> None:
    number = found.number("Paused")
    done = asked(shell, found, "status", f"search/trials/{number}")
    assert done.code == 0, done.err
    assert "Paused" in done.out
    rate = found.search.trials[number].parameters[RATE]
    assert f"learningRate={rate:.4g}" in done.out


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("search/trials/99", "has no trial 99: its trials have the numbers 0 to 5"),
        (
            "search/trials/last",
            "names no trial: name one by its number, as SEARCH/trials/7, or SEARCH/trials/best",
        ),
        ("absent/trials/1", "holds no search 'absent'"),
        ("search", "is a search and no job: name one of its trials"),
    ],
)
@pytest.mark.parametrize("command", ["fork", "verify", "export"])
def test_what_is_no_trial_is_said_with_the_remedy(
    found: Searched, shell: Shell, command: str, name: str, said: str
) -> None:
    done = asked(shell, found, command, name)
    assert done.code == 2
    assert said in done.err


def test_the_yaml_of_a_search_asks_for_a_trial_and_that_of_a_job_has_none(
    found: Searched, shell: Shell, tmp_path: Path
) -> None:
    done = asked(shell, found, "fork", found.file)
    assert done.code == 2
    assert f"{found.file}/trials/best" in done.err
    job = tmp_path / "job.yaml"
    job.write_text(json.dumps(document()))
    done = asked(shell, found, "fork", f"{job}/trials/1")
    assert done.code == 2
    assert "is a job and no search" in done.err


def test_a_version_that_is_collected_is_not_forked(found: Searched, shell: Shell) -> None:
    number = found.number("Finished")
    done = asked(shell, found, "fork", f"search/trials/{number}@1")
    assert done.code == 2
    assert "spec.from.version" in done.err
    assert "does not keep version 1 any more: name one that it keeps (2, 4)" in done.err


def test_spec_from_best_begins_at_the_best_trial_and_stays_there(
    found: Searched, shell: Shell, tmp_path: Path
) -> None:
    best, version = found.outcome["trial"], found.outcome["version"]
    spec = {**document(**TEMPLATE)["spec"], "from": {"job": "search/trials/best", "version": version}}
    spec["algorithm"] = {**spec["algorithm"], "steps": 6}
    body = {**document(), "spec": spec}
    session = open_session(parse(body), os.environ, store=str(found.store))
    assert session.resolved.parent_uid == f"{found.uid}/trials/{best}"
    place = Forked(session.job, session.uid, session.cut_data(), session.store, found.store, session.parent)
    Simulation(place).run()
    first = place.commit(0)
    assert first.origin is not None
    assert (first.origin.job, first.origin.version) == (f"{found.uid}/trials/{best}", version)
    again = open_session(parse(body), os.environ, store=str(found.store))
    assert again.resolved.parent_uid == first.origin.job


def test_spec_from_best_of_a_search_that_is_not_there_is_refused_by_its_field(
    found: Searched, shell: Shell, tmp_path: Path
) -> None:
    file = tmp_path / "fork.yaml"
    file.write_text(json.dumps(document(**{"from": {"job": "absent/trials/best", "version": 3}})))
    done = asked(shell, found, "run", file)
    assert done.code == 2
    assert "spec.from.job: is 'absent/trials/best'" in done.err


def test_of_a_trial_that_began_at_another_ones_version_every_version_is_verified(
    tmp_path: Path, shell: Shell
) -> None:
    template = {**TEMPLATE, "algorithm_steps": 6}
    job = iris_search(
        template={"spec": document(**template)["spec"]},
        prune={"name": "PBT", "first": 2, "interval": 2, "quantile": 0.5},
        parallelTrials=4,
        maxTrials=4,
    )
    done = searched(tmp_path, job)
    forked = next(each for each in done.search.trials if each.origin is not None)
    assert forked.origin is not None
    found = asked(shell, done, "verify", f"search/trials/{forked.number}", "--json")
    assert found.code == 0, found.out + found.err
    versions = [each["version"] for each in found.json["versions"]]
    assert versions[0] == forked.origin.version + 1
    assert {each["state"] for each in found.json["versions"]} == {"Same"}


def test_of_a_trial_that_was_stopped_nothing_is_left_to_fork(tmp_path: Path, shell: Shell) -> None:
    prune = {"name": "Median", "first": 1, "interval": 1, "startupTrials": 1}
    done = searched(tmp_path, iris_search(prune=prune, parallelTrials=1))
    stopped = done.number("Stopped")
    told = asked(shell, done, "fork", f"search/trials/{stopped}")
    assert told.code == 2
    assert "does not keep version" in told.err
