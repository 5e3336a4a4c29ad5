"""A ModelService from its first version to its end, as Knative and its pods tell of it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from helpers.services import GOLDEN_ROWS_FAILED, LATER, MODEL, NOW, STORE_AWAY, knative, pod, service, wanted

from sapflow.errors import StoreUnavailable
from sapflow.objects.stores.credentials import Credentials
from sapflow_operator import names
from sapflow_operator.actions import Apply, Delete, RevokeCredentials
from sapflow_operator.chosen_model import ChosenModel
from sapflow_operator.errors import ModelNotReady, NotOwned
from sapflow_operator.kinds.crd import crd
from sapflow_operator.kinds.model_service import MODEL_SERVICE
from sapflow_operator.observed import Observed
from sapflow_operator.resources import pool_secret
from sapflow_operator.serving.counts import Counts
from sapflow_operator.serving.reconcile import (
    Counted,
    IssueReading,
    MakeToken,
    ServicePlan,
    end,
    left,
    reconcile,
    troubled,
)
from sapflow_operator.store.credentials import Issued

Object = dict[str, Any]


def ready(status: Any) -> Object:
    return dict(next(each for each in status["conditions"] if each["type"] == "Ready"))


class Cluster:
    """A ModelService, and what the plans so far have made of its children."""

    def __init__(self, model: ChosenModel = MODEL, **spec: Any) -> None:
        self.service, self.model, self.spec = service(**spec), model, spec
        self.children: dict[tuple[str, str], Object] = {}
        self.pods: list[Object] = []
        self.ready, self.failed = "", ""
        self.now = NOW
        self.events: list[str] = []

    @property
    def revision(self) -> str:
        return wanted(self.service, self.model).revision

    @property
    def traffic(self) -> list[tuple[str, int]]:
        found = self.children["Service", "late-serve"]["spec"]["traffic"]
        return [(each["revisionName"], each["percent"]) for each in found]

    @property
    def state(self) -> tuple[str, str]:
        found = ready(self.service.status)
        return found["status"], found["reason"]

    def change(self, model: ChosenModel = MODEL, **spec: Any) -> None:
        generation = self.service.generation + (spec != self.spec)
        self.model, self.spec = model, spec
        self.service = service(dict(self.service.status), generation, **spec)

    def look(self, step: Counts | None = None, seconds: float = 0) -> ServicePlan:
        self.now += timedelta(seconds=seconds)
        objects = [
            knative(each, self.ready, failed=self.failed) if each["kind"] == "Service" else each
            for each in self.children.values()
        ]
        counted = Counted(step or Counts(), step or Counts())
        plan = reconcile(
            self.service, wanted(self.service, self.model), Observed.of(objects, self.pods), counted, self.now
        )
        for action in plan.actions:
            match action:
                case Apply(manifest, _):
                    self.children[manifest["kind"], manifest["metadata"]["name"]] = dict(manifest)
                case IssueReading(of, readable, _):
                    issued = Issued(
                        "session",
                        Credentials("k", "s"),
                        self.now + timedelta(hours=1),
                        self.now + timedelta(hours=0.5),
                    )
                    notes = {names.CREDENTIALS_READ: ",".join(readable)}
                    self.children["Secret", "late-serve-pool"] = pool_secret.build(of, "", issued, (), notes)
                case MakeToken():
                    self.children["Secret", "late-serve-token"] = {
                        "kind": "Secret",
                        "metadata": {"name": "late-serve-token", "uid": "t1"},
                    }
        self.events += [each.reason for each in plan.events]
        self.service = replace(self.service, status=dict(plan.status))
        return plan

    def serve(self) -> str:
        """Let the current version become ready."""
        self.look()
        self.ready = self.revision
        self.pods = [pod(self.revision)]
        for _ in range(3):
            self.look()
        return self.revision


def test_what_pods_read_is_there_before_they_start() -> None:
    plan = Cluster().look()
    made = [
        each.manifest["kind"] if isinstance(each, Apply) else type(each).__name__ for each in plan.actions
    ]
    assert made == ["IssueReading", "MakeToken", "NetworkPolicy", "ConfigMap", "Service"]


def test_a_service_says_that_it_serves_once_its_golden_rows_are_answered() -> None:
    cluster = Cluster()
    cluster.look()
    assert cluster.state == ("Unknown", "Deploying")
    first = cluster.serve()
    assert cluster.state == ("True", "Serving")
    assert cluster.traffic == [(first, 100)]
    assert cluster.service.status["url"] == "http://late-serve.team.example.com"
    assert cluster.service.status["version"]["sha256"] == MODEL.sha256
    assert cluster.look().actions == ()
    assert cluster.events == ["Serving"]


def test_a_first_version_that_fails_its_golden_rows_is_told_with_the_row() -> None:
    cluster = Cluster()
    cluster.look()
    cluster.pods = [pod(cluster.revision, ready=False, ended=GOLDEN_ROWS_FAILED)]
    cluster.look()
    assert cluster.state == ("False", "GoldenRowsFailed")
    assert "golden row 3" in ready(cluster.service.status)["message"]


def test_the_next_model_of_the_job_takes_over_when_it_is_ready() -> None:
    cluster = Cluster()
    first = cluster.serve()
    cluster.change(LATER)
    cluster.look()
    assert cluster.state == ("True", "RollingOut")
    assert cluster.traffic == [(first, 100)]
    second = cluster.serve()
    assert second != first
    assert cluster.traffic == [(second, 100)]
    assert cluster.state == ("True", "Serving")
    assert cluster.service.status["previous"]["revision"] == first


def test_a_service_serves_while_knative_moves_requests_from_one_version_to_the_next() -> None:
    cluster = Cluster()
    cluster.serve()
    cluster.change(LATER)
    cluster.look()
    cluster.ready = cluster.revision
    cluster.look()
    moving = [
        {
            **each,
            "metadata": {**each["metadata"], "generation": 2, "uid": "k1"},
            "status": {"observedGeneration": 1},
        }
        if each["kind"] == "Service"
        else each
        for each in cluster.children.values()
    ]
    plan = reconcile(
        cluster.service,
        wanted(cluster.service, LATER),
        Observed.of(moving, cluster.pods),
        Counted(),
        cluster.now,
    )
    assert ready(plan.status)["status"] == "True"


def test_pods_of_both_versions_may_read_their_models_and_both_documents_are_kept() -> None:
    cluster = Cluster()
    first = cluster.serve()
    cluster.change(LATER)
    cluster.look()
    note = cluster.children["Secret", "late-serve-pool"]["metadata"]["annotations"][names.CREDENTIALS_READ]
    assert set(note.split(",")) == {"jobs/j1/result/*", "jobs/j2/result/*"}
    assert {f"{first}.json", f"{cluster.revision}.json"} <= set(
        cluster.children["ConfigMap", "late-serve-spec"]["data"]
    )


def test_a_next_model_that_fails_its_golden_rows_never_gets_a_request() -> None:
    cluster = Cluster()
    first = cluster.serve()
    cluster.change(LATER)
    cluster.look()
    cluster.pods = [pod(first), pod(cluster.revision, ready=False, ended=GOLDEN_ROWS_FAILED, name="p2")]
    for _ in range(3):
        cluster.look()
        assert cluster.traffic == [(first, 100)]
    assert cluster.state == ("False", "GoldenRowsFailed")
    assert f"{first} serves" in ready(cluster.service.status)["message"]
    assert cluster.events.count("GoldenRowsFailed") == 1
    assert "golden row 3" in cluster.service.status["rejected"]["message"]


CANARY = {"percent": 20, "stepSeconds": 60, "minRequests": 50}


def test_a_canary_goes_forward_by_its_steps() -> None:
    cluster = Cluster(canary=CANARY)
    first = cluster.serve()
    cluster.change(LATER, canary=CANARY)
    cluster.look()
    cluster.ready = second = cluster.revision
    cluster.pods = [pod(first), pod(second, name="p2")]
    cluster.look()
    assert cluster.traffic == [(first, 80), (second, 20)]
    assert cluster.service.status["canary"]["percent"] == 20
    cluster.look(Counts(49), seconds=600)
    assert cluster.traffic == [(first, 80), (second, 20)]
    assert "49 of 50" in ready(cluster.service.status)["message"]
    cluster.look(Counts(50), seconds=1)
    assert cluster.traffic == [(first, 60), (second, 40)]
    cluster.look(Counts(50), seconds=60)
    cluster.look(Counts(50), seconds=60)
    assert cluster.traffic == [(second, 100)]
    assert cluster.events[-1] == "Serving"


def test_a_canary_goes_back_within_ten_seconds_of_its_bound() -> None:
    cluster = Cluster(canary=CANARY)
    first = cluster.serve()
    cluster.change(LATER, canary=CANARY)
    cluster.look()
    cluster.ready = cluster.revision
    assert cluster.look().again < 10
    cluster.look(Counts(10, errors=3), seconds=3)
    assert cluster.traffic == [(first, 100)]
    assert cluster.state == ("False", "TooManyErrors")
    cluster.look(seconds=1000)
    assert cluster.traffic == [(first, 100)]


def test_a_version_that_fails_its_golden_rows_in_a_later_pod_gives_way_to_the_one_before() -> None:
    cluster = Cluster()
    first = cluster.serve()
    cluster.change(LATER)
    second = cluster.serve()
    cluster.pods = [pod(second, ready=False, ended=GOLDEN_ROWS_FAILED)]
    cluster.look()
    assert cluster.traffic == [(first, 100)]
    cluster.pods = []
    cluster.look()
    assert cluster.traffic == [(first, 100)]
    assert cluster.state == ("False", "GoldenRowsFailed")


def test_a_store_that_is_away_while_pods_serve_changes_nothing() -> None:
    cluster = Cluster()
    first = cluster.serve()
    cluster.pods = [pod(first), pod(first, ready=False, ended=STORE_AWAY, name="p2")]
    cluster.look()
    assert cluster.state == ("True", "Serving")
    plan = troubled(cluster.service, StoreUnavailable("http://minio:9000 does not answer"), NOW)
    assert ready(plan.status)["reason"] == "Serving"
    assert plan.status["version"] == cluster.service.status["version"]


def test_why_knative_does_not_start_a_first_version_is_told() -> None:
    cluster = Cluster()
    cluster.look()
    cluster.failed = "Unable to fetch image dev.local/server:1"
    cluster.look()
    assert cluster.state == ("False", "RevisionFailed")
    assert "Unable to fetch image" in ready(cluster.service.status)["message"]


def test_credentials_are_renewed_before_they_end_and_needed_then_alone() -> None:
    cluster = Cluster()
    cluster.serve()
    assert not cluster.look(seconds=1200).actions
    (action,) = cluster.look(seconds=900).actions
    assert isinstance(action, IssueReading)
    assert action.until is not None


def test_a_model_that_is_not_there_yet_is_waited_for() -> None:
    plan = troubled(service(), ModelNotReady("there is no TrainingJob flights"), NOW)
    assert (ready(plan.status)["status"], ready(plan.status)["reason"]) == ("Unknown", "ModelNotReady")


def test_a_service_of_somebody_elses_is_left_alone_and_told() -> None:
    stranger = {"kind": "Service", "metadata": {"name": "late-serve", "uid": "x"}}
    observed = replace(Observed.of([], ()), strangers=[stranger])
    with pytest.raises(NotOwned) as caught:
        reconcile(service(), wanted(service()), observed, Counted(), NOW)
    assert ready(troubled(service(), caught.value, NOW).status)["reason"] == "NotOwned"


def test_an_end_revokes_the_credentials_and_says_that_the_model_stays() -> None:
    cluster = Cluster()
    cluster.serve()
    observed = Observed.of(list(cluster.children.values()), ())
    of = wanted(cluster.service)
    revoked, *deleted = end(cluster.service, observed, of.place, cluster.now)
    assert isinstance(revoked, RevokeCredentials)
    assert revoked.uid == cluster.service.uid
    names_of = [each.name for each in deleted if isinstance(each, Delete)]
    assert names_of == ["late-serve", "late-serve-pool", "late-serve-token"]
    assert MODEL.uri in left(cluster.service).message
    assert "nothing" in left(service()).message


def test_requests_and_errors_are_in_the_status() -> None:
    cluster = Cluster()
    cluster.serve()
    cluster.look(Counts(12, 1))
    assert (cluster.service.status["requests"], cluster.service.status["errors"]) == (12, 1)


def test_columns_name_what_is_served() -> None:
    found = crd(MODEL_SERVICE)["spec"]["versions"][0]["additionalPrinterColumns"]
    shown = [each["name"] for each in found]
    assert set(shown) >= {"URL", "Ready", "Version", "Canary", "Requests", "Errors", "Age"}


def test_the_status_fits_its_schema() -> None:
    cluster = Cluster(canary=CANARY)
    cluster.serve()
    cluster.change(LATER, canary=CANARY)
    cluster.look()
    known = MODEL_SERVICE.definition.status["properties"]
    assert set(cluster.service.status) <= set(known)
    for name in ("model", "version", "canary"):
        assert set(cluster.service.status[name]) <= set(known[name]["properties"])
