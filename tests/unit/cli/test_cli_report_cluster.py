"""`sapflow report` of a search in a cluster, whose store is reached from here."""

import asyncio
from pathlib import Path

import pytest
from helpers.cluster_api import ClusterApi, trainingjob, tuningjob
from helpers.commands import Done, Shell
from helpers.reported_search import PARAMETERS, entries_of
from helpers.searches import search_job

from sapflow.objects import keys
from sapflow.objects.stores.directory import DirectoryStore
from sapflow.spec.resolved_search import ResolvedSearch
from sapflow.tuning.log import Log
from sapflow.tuning.spec_record import write_spec

UID = "uid-of-digits-search"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with a search of the cluster, which is at work."""
    store, prefix = DirectoryStore(str(tmp_path / "store")), keys.job(UID)
    job = search_job(
        parameters=PARAMETERS, prune={"name": "ASHA", "first": 1, "factor": 4}, maxTrials=20, parallelTrials=4
    )
    write_spec(ResolvedSearch(job, prefix, "kubernetes"), store)
    assert asyncio.run(Log(store, prefix).append(entries_of(12, ended=None)))
    return tmp_path / "store"


def report(api: ClusterApi, capture: pytest.CaptureFixture[str], folder: Path, *arguments: object) -> Done:
    environ = {"KUBECONFIG": str(api.kubeconfig(folder)), "HOME": str(folder)}
    return Shell(capture)("report", *arguments, "-o", folder / "page.html", environ=environ)


@pytest.mark.parametrize("named", [["-n", "team"], []], ids=["by its namespace", "in the usual namespace"])
def test_writes_the_page_of_a_search_in_a_cluster(
    named: list[str], api: ClusterApi, store: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    api.put(tuningjob())
    done = report(api, capsys, tmp_path, "digits-search", *named, "--store", store, "--json")
    assert done.code == 0, done.err
    assert (done.json["search"], done.json["state"]) == (UID, "Unfinished")
    assert "<h2>Calls in flight</h2>" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_says_that_a_clusters_store_must_be_named_and_what_it_lacks(
    api: ClusterApi, store: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    api.put(tuningjob())
    api.put(tuningjob("other"))
    api.put(trainingjob("cats"))
    done = report(api, capsys, tmp_path, "digits-search", "-n", "team")
    assert done.code == 2
    assert "is a search of the cluster (namespace team)" in done.err
    assert "--store" in done.err
    done = report(api, capsys, tmp_path, "other", "-n", "team", "--store", store)
    assert done.code == 2
    assert "holds no search uid-of-other, which is other of namespace team" in done.err
    done = report(api, capsys, tmp_path, "cats", "-n", "team", "--store", store)
    assert done.code == 2
    assert "holds no job" in done.err
