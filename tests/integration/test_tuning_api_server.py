"""What a real API server makes of a TuningJob and of a trial's object: bounds, rules, what may be changed by whom."""

import asyncio
import subprocess
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.helm import find_helm, require_helm
from helpers.real_api_server import api_server_with

from sapflow.kube.access import Access
from sapflow.kube.client import ApiClient
from sapflow.kube.errors import ClusterError
from sapflow.kube.paths import Kind
from sapflow.spec import tuning_document
from sapflow_operator import names
from sapflow_operator.api import parts
from sapflow_operator.api.cluster import Cluster
from sapflow_operator.kinds.crd import DESCRIBED, crd
from sapflow_operator.observed import JobObject

pytestmark = [pytest.mark.timeout(600)]
CHART = Path(__file__).parents[2] / "charts" / "sapflow"
POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
BINDINGS = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"
SAMPLE = Path(__file__).parents[2] / "manifests" / "samples" / "tune.yaml"
TUNING = Kind(names.API_VERSION, names.TUNING_JOB.plural)
TRIALS = Kind(names.API_VERSION, names.TRIAL.plural)
REMOVED = object()


@pytest.fixture(scope="module")
def access(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    with api_server_with(
        map(crd, DESCRIBED.values()), [TUNING, TRIALS], tmp_path_factory.mktemp("api")
    ) as found:
        yield found


def search(changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """The sample, with fields at dotted paths changed, or taken away."""
    document: dict[str, Any] = deepcopy(yaml.safe_load(SAMPLE.read_text()))
    for path, value in (changes or {}).items():
        *parents, last = path.split(".")
        place = document
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is REMOVED:
            del place[last]
        else:
            place[last] = value
    return document


async def created(access: Access, document: dict[str, Any]) -> dict[str, Any]:
    api = ApiClient(access)
    try:
        return await api.create(TUNING.path("default"), document, dry_run=True)
    finally:
        await api.close()


RATE = {"path": "spec.optimizer.learningRate", "float": {"min": 0.001, "max": 1, "log": True}}
BAD: tuple[tuple[dict[str, Any], str], ...] = (
    ({"metadata.name": "x" * 41}, "metadata.name must have at most 40 characters"),
    ({"spec.maxWorkers": REMOVED}, "spec.maxWorkers: Required value"),
    ({"spec.maxWorkers": 1}, "must be at least template.spec.workers"),
    ({"spec.maxTrials": REMOVED}, "only a Grid has an end of its own"),
    ({"spec.maxTrials": 20_001}, "should be less than or equal to 20000"),
    ({"spec.parallelTrials": 0}, "should be greater than or equal to 1"),
    ({"spec.search": {"name": "Bayes"}}, 'Unsupported value: "Bayes"'),
    ({"spec.objective": {"metric": "accuracy", "direction": "Minimize"}}, "is the wrong way round"),
    ({"spec.parameters": []}, "should have at least 1 items"),
    ({"spec.parameters": [{**RATE, "float": {"min": 1.0, "max": 0.1}}]}, "min must be below max"),
    (
        {"spec.parameters": [{"path": RATE["path"]}]},
        "needs for each parameter one of float, int and categorical",
    ),
    ({"spec.parameters": [RATE, RATE]}, "has a path twice"),
    (
        {"spec.parameters": [{**RATE, "path": "spec.memory.worker"}]},
        "has a path that trials cannot differ in",
    ),
    ({"spec.parameters": [{**RATE, "path": "optimizer"}]}, "should match"),
    ({"spec.prune": {"name": "ASHA", "quantile": 0.2}}, "is for PBT only"),
    ({"spec.template.spec.suspend": True}, "suspend the search instead"),
    (
        {"spec.template.spec.affinity": [{"from": "Worker", "to": "Merger", "weight": 100}]},
        "is for a job by itself",
    ),
    ({"spec.template.spec.from": {"job": "other", "version": 3}}, "every trial begins at the beginning"),
    ({"spec.template.spec.data.source": "/data/mnist"}, "functions in a cluster see no path of yours"),
    ({"spec.template.spec.merge": {"structure": [2, 2]}}, "must start at 1: there is one root"),
    (
        {"spec.template.spec.workers": 0},
        "spec.template.spec.workers in body should be greater than or equal to 1",
    ),
)


def test_the_sample_is_taken_with_its_defaults_and_is_the_search_that_the_library_reads(
    access: Access,
) -> None:
    found = asyncio.run(created(access, search()))
    assert found["spec"]["suspend"] is False
    assert found["spec"]["template"]["spec"]["optimizer"]["schedule"]["name"] == "Constant"
    assert found["spec"]["parameters"][1]["categorical"]["choices"][3] == [256, 128, 64]
    document = {name: found[name] for name in ("apiVersion", "kind", "spec")} | {"metadata": {"name": "a"}}
    mine = tuning_document.parse(search() | {"metadata": {"name": "a"}}, "kubernetes")
    assert tuning_document.parse(document, "kubernetes").spec == mine.spec


@pytest.mark.parametrize(("changes", "said"), BAD, ids=[said for _, said in BAD])
def test_a_bad_search_is_refused_by_field_and_remedy(
    access: Access, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ClusterError) as error:
        asyncio.run(created(access, search(changes)))
    assert error.value.status == 422
    assert said in str(error.value)


def test_limits_may_be_raised_and_what_is_searched_may_not_be_changed(access: Access) -> None:
    async def change() -> list[str]:
        api, said = ApiClient(access), []
        first = {"metadata.name": "changed", "spec.parallelTrials": 2, "spec.budgetUSD": 1}
        await api.create(TUNING.path("default"), search(first | {"spec.deadlineSeconds": 30}))
        path = TUNING.path("default", "changed")
        limits = {
            "maxTrials": 64,
            "maxWorkers": 32,
            "parallelTrials": 4,
            "budgetUSD": 2.5,
            "deadlineSeconds": 60,
        }
        await api.patch(path, {"spec": limits | {"suspend": True, "ttlSecondsAfterFinished": 5}})
        for spec in (
            {"objective": {"metric": "loss", "direction": "Minimize"}},
            {"template": {"spec": {"workers": 3}}},
            {"parameters": [RATE]},
            {"warmStartFrom": "another"},
            {"maxTrials": 3},
        ):
            try:
                await api.patch(path, {"spec": spec})
            except ClusterError as error:
                said.append(str(error))
        await api.close()
        return said

    said = asyncio.run(change())
    assert len(said) == 5
    assert all("cannot be changed" in each for each in said[:4])
    assert "may be raised, also after the search's end, and not lowered" in said[4]


def test_a_trials_object_has_its_whole_state_in_one_request_and_its_spec_never_changes(
    access: Access,
) -> None:
    trial = {
        "apiVersion": names.API_VERSION,
        "kind": "Trial",
        "metadata": {"name": "digits-search-7", "finalizers": [names.TRIAL_FINALIZER]},
        "spec": {"number": 7, "parameters": {"spec.optimizer.learningRate": "0.1"}},
        "status": {"state": "Running", "step": 2, "objective": 0.5, "parameters": "learningRate=0.1"},
    }

    async def write() -> tuple[dict[str, Any], str]:
        api, path = ApiClient(access), TRIALS.path("default", "digits-search-7")
        await api.apply(path, trial, names.DRIVER_MANAGER)
        _, found = await api.apply(path, trial | {"status": {"state": "Paused"}}, names.DRIVER_MANAGER)
        try:
            await api.patch(path, {"spec": {"number": 8}})
        except ClusterError as error:
            return found, str(error)
        finally:
            await api.close()
        return found, ""

    found, said = asyncio.run(write())
    assert found["status"] == {"state": "Paused"}
    assert "cannot be changed" in said


def trial(
    search: str, number: int, *, uid: str = "u", owner: str | None = None, **metadata: Any
) -> dict[str, Any]:
    """The object of a trial as its driver writes it, with another owner where one is named."""
    own = {"apiVersion": names.API_VERSION, "kind": "TuningJob", "name": owner or search, "uid": uid}
    return {
        "apiVersion": names.API_VERSION,
        "kind": "Trial",
        "metadata": {
            "name": f"{search}-{number}",
            "labels": {names.TUNING_LABEL: search, names.UID_LABEL: uid},
            "ownerReferences": [own],
            "finalizers": [names.TRIAL_FINALIZER],
            **metadata,
        },
        "spec": {"number": number, "parameters": {}},
        "status": {"state": "Running"},
    }


def test_the_operator_lets_go_of_the_trials_of_one_search_alone(access: Access) -> None:
    body = search({"metadata.name": "one"})
    metadata = {"namespace": "default", "uid": "a", "creationTimestamp": "2026-01-01T00:00:00Z"}
    job = JobObject.read({**body, "metadata": body["metadata"] | metadata}, names.TUNING_JOB)

    async def run() -> dict[str, list[str]]:
        api, cluster = ApiClient(access), Cluster(access)
        for each in (trial("one", 0, uid="a"), trial("one", 1, uid="a"), trial("two", 0, uid="b")):
            await api.create(TRIALS.path("default"), each)
        foreign = {"metadata": {"finalizers": [names.TRIAL_FINALIZER, "example.com/other"]}}
        await api.patch(TRIALS.path("default", "one-1"), foreign)
        await parts.release(cluster, job, names.TRIAL)
        found = {
            name: (await api.read(TRIALS.path("default", name)))["metadata"].get("finalizers", [])
            for name in ("one-0", "one-1", "two-0")
        }
        await api.close()
        await cluster.close()
        return found

    assert asyncio.run(run()) == {
        "one-0": [],
        "one-1": ["example.com/other"],
        "two-0": [names.TRIAL_FINALIZER],
    }


def _policies() -> list[dict[str, Any]]:
    require_helm()
    command = [str(find_helm()), "template", "sapflow", str(CHART), "--kube-version", "1.34.0"]
    command += ["--show-only", "templates/admission-policy.yaml"]
    rendered = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    return [each for each in yaml.safe_load_all(rendered) if each]


async def _denied(api: ApiClient, manifest: Mapping[str, Any]) -> str:
    """Why a trial cannot be created; empty if it could be."""
    try:
        await api.create(TRIALS.path("default"), manifest, dry_run=True)
    except ClusterError as error:
        return str(error)
    return ""


def test_a_driver_writes_the_trials_of_its_own_search_and_no_others(access: Access) -> None:
    def as_user(name: str) -> ApiClient:
        account = f"system:serviceaccount:default:{name}"
        return ApiClient(replace(access, headers={**access.headers, "Impersonate-User": account}))

    async def run() -> None:
        api, mine = ApiClient(access), as_user("mine-tune-driver")
        other, somebody = as_user("digits-driver"), as_user("somebody")
        for each in _policies():
            await api.create(POLICIES if each["kind"].endswith("Policy") else BINDINGS, each)
        stranger = trial("mine", 0, owner="other")
        # A policy is enforced a moment after it was made.
        while not await _denied(mine, stranger):
            await asyncio.sleep(0.2)
        said = "a driver may write the trials that its own search owns"
        unowned = trial("mine", 0)
        del unowned["metadata"]["ownerReferences"]
        assert said in await _denied(mine, unowned)
        assert said in await _denied(mine, stranger)
        assert said in await _denied(other, trial("digits", 0))
        relabelled = trial("mine", 0, labels={names.TUNING_LABEL: "other"})
        assert "labels a trial with the name of its own search" in await _denied(mine, relabelled)
        assert await _denied(mine, trial("mine", 0)) == ""
        assert await _denied(somebody, stranger) == ""

        await api.create(TRIALS.path("default"), trial("theirs", 0))
        path = TRIALS.path("default", "theirs-0")
        owners = {"ownerReferences": trial("mine", 0)["metadata"]["ownerReferences"]}
        for change in (
            lambda: mine.patch(path, {"metadata": {"finalizers": []}}),
            lambda: mine.patch(path, {"metadata": owners}),
            lambda: mine.delete(path),
        ):
            with pytest.raises(ClusterError, match="that its own search owns"):
                await change()
        for client in (api, mine, other, somebody):
            await client.close()

    asyncio.run(run())
