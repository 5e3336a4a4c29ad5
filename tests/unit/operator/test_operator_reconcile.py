"""The reconciler: what it decides, from jobs and children written out as the API server gives them."""

import json
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from helpers.manifests import variables_of

from sapflow.errors import StoreUnavailable
from sapflow.kube.errors import ClusterError
from sapflow.quantities.memory import parse_quantity
from sapflow.quantities.roles import TRAINING_ROLES
from sapflow_operator import names, times
from sapflow_operator.actions import (
    Apply,
    Delete,
    DeleteJob,
    IssueCredentials,
    Plan,
    RemoveObjects,
    RevokeCredentials,
)
from sapflow_operator.errors import CredentialsRefused
from sapflow_operator.kinds.training_job import TRAINING_JOB
from sapflow_operator.nodes import Inventory
from sapflow_operator.observed import JobObject, Observed
from sapflow_operator.reconcile import Admission, plan_deletion, reconcile, troubled
from sapflow_operator.settings import Settings

NOW = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)
RUN, WAIT = Admission(True, 1), Admission(False, 10)
SETTINGS = Settings.from_environment(
    {
        "SAPFLOW_OPERATOR_IMAGE": "dev.local/operator:1",
        "SAPFLOW_WORKER_IMAGE": "dev.local/worker:1",
        "SAPFLOW_MERGER_IMAGE": "dev.local/merger:1",
        "SAPFLOW_PREPARER_IMAGE": "dev.local/preparer:1",
        "SAPFLOW_SERVER_IMAGE": "dev.local/server:1",
        "SAPFLOW_S3_ENDPOINT": "http://minio:9000",
        "SAPFLOW_S3_BUCKET": "sapflow",
        "SAPFLOW_S3_ACCESS_KEY": "operator",
        "SAPFLOW_S3_SECRET_KEY": "secret",
        "SAPFLOW_MAX_MEMORY": "1Gi",
    }
)
SPEC: dict[str, Any] = {"model": {"name": "mlp"}, "data": {"source": "sklearn:digits"}, "workers": 4}
KNOWN = {"latestReadyRevisionName": "a-00001"}


class World:
    """A cluster of one job: plans are carried out, and what controllers would do is done by hand."""

    def __init__(self, **spec: Any) -> None:
        self.spec = deepcopy(SPEC) | spec
        self.status: dict[str, Any] = {}
        self.generation = 1
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.pods: list[dict[str, Any]] = []
        self.outcome: dict[str, Any] | None = None
        self.now = NOW
        self.events: list[str] = []
        self.done: list[Any] = []
        self.gone = False
        self.settings = SETTINGS
        self.knative_answers = True
        self.inventory = Inventory()

    @classmethod
    def at_work(cls) -> "World":
        """One whose driver is at work."""
        world = cls()
        world.settle()
        world.functions("True")
        world.driver_runs()
        world.settle()
        return world

    @property
    def job(self) -> JobObject:
        metadata = {
            "name": "a",
            "namespace": "team",
            "uid": "u1",
            "generation": self.generation,
            "creationTimestamp": times.write(NOW),
        }
        return JobObject.read({"metadata": metadata, "spec": self.spec, "status": self.status})

    @property
    def observed(self) -> Observed:
        return Observed(self.objects, self.pods, self.outcome, self.inventory)

    def reconcile(self, admission: Admission = RUN) -> Plan:
        """One reconciliation, carried out."""
        plan = reconcile(TRAINING_JOB, self.job, self.observed, self.now, self.settings, admission)
        self.take(plan)
        return plan

    def take(self, plan: Plan) -> None:
        for action in plan.actions:
            self.done.append(action)
            match action:
                case Apply(manifest):
                    found = self.objects[manifest["kind"], manifest["metadata"]["name"]] = deepcopy(
                        dict(manifest)
                    )
                    if manifest["kind"] == "Service" and self.knative_answers:
                        found["status"] = dict(KNOWN)
                case Delete(kind, name):
                    self.objects.pop((kind, name), None)
                case IssueCredentials():
                    self.issued(NOW + timedelta(minutes=30))
                case DeleteJob():
                    self.gone = True
        if plan.status is not None:
            progress = {name: self.status[name] for name in ("progress",) if name in self.status}
            self.status = {**plan.status, **progress}
        self.events += [event.reason for event in plan.events]

    def settle(self, admission: Admission = RUN) -> None:
        """Look until nothing is left to do."""
        for _ in range(6):
            before = (deepcopy(self.status), len(self.done))
            self.reconcile(admission)
            if (self.status, len(self.done)) == before:
                return
        raise AssertionError("the reconciler never comes to rest")

    def issued(self, renew: datetime) -> None:
        notes = {
            names.CREDENTIALS_KIND: "session",
            names.CREDENTIALS_KEYS: "key",
            names.CREDENTIALS_RENEW: renew.isoformat(),
        }
        self.objects["Secret", "a-pool"] = {"metadata": {"name": "a-pool", "annotations": notes}}

    def functions(self, status: str, reason: str = "", message: str = "") -> None:
        for role in ("worker", "merger"):
            self.objects["Service", f"a-{role}"]["status"] = {
                "conditions": [{"type": "Ready", "status": status, "reason": reason, "message": message}],
                **KNOWN,
            }

    def driver_runs(self) -> None:
        self.objects["Job", "a-driver"]["status"] = {"active": 1}
        self.pods.append(pod("driver", phase="Running"))

    def driver_ends(self, code: int, word: object = None) -> None:
        kind = "Complete" if code == 0 else "Failed"
        self.objects["Job", "a-driver"]["status"] = {"conditions": [{"type": kind, "status": "True"}]}
        ended = {"terminated": {"exitCode": code, "message": json.dumps(word) if word else ""}}
        phase = "Succeeded" if code == 0 else "Failed"
        self.pods = [each for each in self.pods if each["metadata"]["labels"][names.ROLE_LABEL] != "driver"]
        self.pods.append(pod("driver", phase=phase, state=ended))

    def condition(self, type: str) -> dict[str, Any]:
        return next((each for each in self.status.get("conditions", ()) if each["type"] == type), {})

    def reason(self, type: str = "Succeeded") -> tuple[str, str]:
        found = self.condition(type)
        return found.get("status", ""), found.get("reason", "")


def pod(role: str, **seen: Any) -> dict[str, Any]:
    container = {"name": "driver" if role == "driver" else "user-container"}
    status: dict[str, Any] = {"phase": seen.get("phase", "Pending")}
    status["containerStatuses"] = [
        container | {name: seen[name] for name in ("state", "lastState") if name in seen}
    ]
    status["conditions"] = seen.get("conditions", [])
    limits = {"resources": {"limits": {"memory": seen.get("memory", "512Mi")}}}
    return {
        "metadata": {"name": f"{role}-1", "labels": {names.ROLE_LABEL: role}},
        "spec": {"containers": [container | limits]},
        "status": status,
    }


def killed(role: str, memory: str) -> dict[str, Any]:
    ended = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    return pod(role, phase="Running", lastState=ended, memory=memory)


@pytest.fixture
def running() -> World:
    return World.at_work()


def test_a_new_job_gets_credentials_before_anything_that_mounts_them() -> None:
    world = World()
    plan = world.reconcile()
    assert isinstance(plan.actions[0], IssueCredentials)
    kinds = [each.manifest["kind"] for each in plan.actions if isinstance(each, Apply)]
    assert sorted(kinds) == sorted(
        ["ServiceAccount", "Role", "RoleBinding", *["NetworkPolicy"] * 2, "ConfigMap", *["Service"] * 2]
    )
    assert world.reason("Planned") == ("True", "Planned")
    assert "status.progress.structure" in world.condition("Planned")["message"]
    assert world.reason() == ("Unknown", "Starting")
    assert world.status["startTime"] == times.write(NOW)


def test_a_driver_that_kueue_has_suspended_waits_and_is_never_made_anew() -> None:
    world = World()
    world.settle()
    job = world.objects["Job", "a-driver"]
    job["metadata"]["labels"][names.QUEUE_LABEL] = "research"
    job["spec"]["suspend"] = True
    done = len(world.done)
    world.settle()
    assert world.done[done:] == []
    assert world.objects["Job", "a-driver"]["spec"]["suspend"] is True
    assert "research" in world.condition("Succeeded")["message"]
    assert world.reason() == ("Unknown", "Starting")


def test_the_driver_starts_once_knative_knows_the_functions() -> None:
    world = World()
    world.knative_answers = False
    world.settle()
    assert ("Service", "a-worker") in world.objects
    assert ("Job", "a-driver") not in world.objects
    assert world.reason() == ("Unknown", "Starting")
    world.functions("Unknown")
    world.settle()
    assert ("Job", "a-driver") in world.objects


def test_a_job_at_work_comes_to_rest_with_nothing_left_to_apply(running: World) -> None:
    assert running.reason() == ("Unknown", "Running")
    assert running.reason("FunctionsReady") == ("True", "Ready")
    assert running.reconcile().actions == ()
    assert running.events == ["Planned", "Starting", "FunctionsReady", "Running"]


def test_what_somebody_changed_by_hand_is_put_back(running: World) -> None:
    template = running.objects["Service", "a-worker"]["spec"]["template"]
    template["metadata"]["annotations"]["autoscaling.knative.dev/max-scale"] = "99"
    running.objects.pop(("NetworkPolicy", "a-functions"))
    applied = [each.manifest["kind"] for each in running.reconcile().actions if isinstance(each, Apply)]
    assert applied == ["NetworkPolicy", "Service"]


def test_what_the_api_server_fills_in_is_no_difference(running: World) -> None:
    running.objects["Service", "a-worker"]["spec"]["template"]["spec"]["containers"][0]["name"] = (
        "user-container"
    )
    assert running.reconcile().actions == ()


def test_a_queued_job_makes_nothing_and_starts_when_it_is_admitted() -> None:
    world = World()
    assert world.reconcile(WAIT).actions == ()
    assert world.reason() == ("Unknown", "Queued")
    assert "startTime" not in world.status
    world.settle()
    assert world.reason() == ("Unknown", "Starting")


def test_a_suspended_job_has_neither_driver_nor_functions_and_goes_on_when_resumed(running: World) -> None:
    running.spec["suspend"], running.generation, running.pods = True, 2, []
    running.settle()
    kinds = {kind for kind, _ in running.objects}
    assert kinds.isdisjoint({"Job", "Service"})
    assert running.reason() == ("Unknown", "Suspended")
    assert running.reason("Suspended") == ("True", "Suspended")
    for condition in ("Succeeded", "Suspended"):
        assert "`sapflow export a -n team --store URL`" in running.condition(condition)["message"]
    running.spec["suspend"], running.generation, running.pods = False, 3, []
    running.settle()
    assert running.reason("Suspended") == ("False", "Resumed")
    assert ("Job", "a-driver") in running.objects
    assert running.condition("Succeeded")["observedGeneration"] == 3
    assert {"Suspended", "Resumed"} <= set(running.events)


def test_the_functions_of_a_suspended_job_end_after_its_driver_which_leaves_a_model(running: World) -> None:
    running.spec["suspend"], running.generation = True, 2
    plan = running.reconcile()
    assert plan.again is not None
    kinds = {kind for kind, _ in running.objects}
    assert "Job" not in kinds
    assert "Service" in kinds, "a function is to write the model"
    assert "checkpoint" not in running.status
    uri = "s3://sapflow/jobs/u1/result/stopped-7.safetensors"
    running.status["progress"] = {"step": 7, "stopped": {"version": 7, "uri": uri}}
    running.pods = []
    running.settle()
    assert "Service" not in {kind for kind, _ in running.objects}
    assert running.status["checkpoint"] == {"version": 7, "uri": uri}
    assert "status.checkpoint.uri" in running.condition("Suspended")["message"]
    running.spec["suspend"], running.generation = False, 3
    running.settle()
    assert "checkpoint" not in running.status


def test_functions_do_not_wait_for_a_driver_that_does_not_end(running: World) -> None:
    running.spec["suspend"], running.generation = True, 2
    running.reconcile()
    running.now += timedelta(seconds=59)
    running.reconcile()
    assert "Service" in {kind for kind, _ in running.objects}
    running.now += timedelta(seconds=2)
    running.reconcile()
    assert "Service" not in {kind for kind, _ in running.objects}


def test_a_job_that_was_suspended_before_it_began_has_no_model_to_export() -> None:
    world = World(suspend=True)
    world.settle()
    assert world.reason() == ("Unknown", "Suspended")
    assert "sapflow export" not in world.condition("Succeeded")["message"]


def test_success_brings_the_result_and_takes_functions_and_credentials_away(running: World) -> None:
    running.driver_ends(0)
    running.outcome = {"version": 9, "uri": "s3://b/m", "sha256": "ab", "account": {"seconds": 3}}
    running.settle()
    assert running.reason() == ("True", "Completed")
    assert running.status["result"] == {"version": 9, "uri": "s3://b/m", "sha256": "ab"}
    assert running.status["completionTime"] == times.write(NOW)
    assert not [key for key in running.objects if key[0] in ("Service", "Secret")]
    assert any(isinstance(each, RevokeCredentials) for each in running.done)
    assert ("Job", "a-driver") in running.objects


def test_the_drivers_word_becomes_the_jobs_condition(running: World) -> None:
    running.driver_ends(3, {"reason": "NotFinite", "message": "step 4: …", "version": 3})
    running.settle()
    assert running.reason() == ("False", "NotFinite")
    assert running.condition("Succeeded")["message"] == "step 4: …"
    assert "NotFinite" in running.events


def test_a_driver_that_crashed_too_often_is_given_up_with_what_the_cluster_says(running: World) -> None:
    running.objects["Job", "a-driver"]["status"] = {
        "conditions": [{"type": "Failed", "status": "True", "message": "backoff limit"}]
    }
    running.pods = []
    running.settle()
    assert running.reason() == ("False", "DriverFailed")
    assert "backoff limit" in running.condition("Succeeded")["message"]


def test_a_finished_job_is_left_alone_and_deleted_when_its_time_is_over(running: World) -> None:
    running.spec["ttlSecondsAfterFinished"] = 60
    running.driver_ends(0)
    running.settle()
    assert running.reconcile().again == 60.0
    running.now = NOW + timedelta(seconds=61)
    running.reconcile()
    assert running.gone


def test_changed_limits_start_the_driver_anew_with_them(running: World) -> None:
    running.spec["limits"], running.generation = {"deadlineSeconds": 5}, 2
    plan = running.reconcile()
    assert Delete("Job", "a-driver") in plan.actions
    text = running.objects["ConfigMap", "a-spec"]["data"]["job.json"]
    assert json.loads(text)["spec"]["limits"]["deadlineSeconds"] == 5
    running.pods = []
    running.settle()
    assert ("Job", "a-driver") in running.objects


def images(world: World) -> set[str]:
    """Of everything that a job's functions and driver run on."""
    found = set()
    for (kind, _), each in world.objects.items():
        if kind in ("Service", "Job"):
            found.add(each["spec"]["template"]["spec"]["containers"][0]["image"])
    return found


def test_a_job_ends_on_the_images_it_began_on_and_takes_new_ones_when_it_is_resumed(running: World) -> None:
    before = images(running)
    assert before == set(SETTINGS.images(TRAINING_ROLES).values())
    newer = {role: f"dev.local/{role}:2" for role in SETTINGS.images(TRAINING_ROLES)}

    running.settings = SETTINGS.pinned(newer)
    done = len(running.done)
    running.settle()
    assert images(running) == before
    assert running.done[done:] == []

    running.spec["suspend"], running.generation = True, 2
    running.settle()
    running.spec["suspend"], running.generation, running.pods = False, 3, []
    running.settle()
    assert images(running) == set(newer.values())


def test_a_driver_whose_pod_has_done_its_work_is_not_said_to_start_again(running: World) -> None:
    assert running.reason() == ("Unknown", "Running")
    running.pods = [pod("driver", phase="Succeeded", state={"terminated": {"exitCode": 0}})]
    running.settle()
    assert running.reason() == ("Unknown", "Running")


def test_a_kill_for_memory_is_named_and_names_the_failure_that_follows(running: World) -> None:
    running.pods.append(killed("worker", "512Mi"))
    running.settle()
    assert running.reason("FunctionsReady") == ("False", "OutOfMemory")
    assert "512Mi" in running.condition("FunctionsReady")["message"]
    assert "growOnOOM" in running.condition("FunctionsReady")["message"]
    running.pods = running.pods[:-1]
    running.driver_ends(3, {"reason": "InstanceLost", "message": "train of version 3 failed", "version": 2})
    running.settle()
    assert running.reason() == ("False", "OutOfMemory")
    assert "train of version 3 failed" in running.condition("Succeeded")["message"]


def test_a_kill_for_memory_that_was_survived_is_not_blamed_for_another_failure(running: World) -> None:
    running.pods.append(killed("worker", "512Mi"))
    running.settle()
    running.driver_ends(3, {"reason": "BudgetExceeded", "message": "spec.limits.budgetUSD is spent"})
    running.settle()
    assert running.reason() == ("False", "BudgetExceeded")


def test_a_job_whose_functions_never_came_fails_with_what_kept_them(running: World) -> None:
    condition = {
        "type": "PodScheduled",
        "reason": "Unschedulable",
        "message": "0/1 nodes: Insufficient memory",
    }
    running.pods.append(pod("worker", conditions=[condition]))
    running.settle()
    running.driver_ends(3, {"reason": "InvocationTimeout", "message": "no answer within 480 s"})
    running.settle()
    assert running.reason() == ("False", "Unschedulable")
    assert "Insufficient memory" in running.condition("Succeeded")["message"]
    assert "no answer" in running.condition("Succeeded")["message"]


def test_what_is_in_vain_is_tried_less_and_less_often() -> None:
    world = World()
    error = ClusterError("403: exceeded quota", 403)
    pauses = []
    for minutes in (0, 1, 10):
        world.now = NOW + timedelta(minutes=minutes)
        plan = troubled(TRAINING_JOB, world.job, error, world.now)
        world.take(plan)
        pauses.append(plan.again)
    assert pauses == [5.0, 15.0, 60.0]


def test_with_grow_on_oom_the_size_grows_once_for_each_size_and_the_job_goes_on() -> None:
    world = World(memory={"worker": "512Mi", "growOnOOM": True})
    world.settle()
    world.functions("True")
    world.driver_runs()
    world.pods.append(killed("worker", "512Mi"))
    world.driver_ends(3, {"reason": "InstanceLost", "message": "lost", "version": 2})
    world.settle()
    assert world.status["memory"] == {"worker": "768Mi", "merger": "256Mi"}
    container = world.objects["Service", "a-worker"]["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"]["memory"] == "768Mi"
    assert (
        json.loads(world.objects["ConfigMap", "a-spec"]["data"]["job.json"])["spec"]["memory"]["worker"]
        == "768Mi"
    )
    assert ("Job", "a-driver") in world.objects
    assert world.condition("Succeeded")["status"] == "Unknown"
    assert world.events.count("MemoryGrown") == 1


def test_memory_grows_to_the_operators_limit_and_no_further() -> None:
    world = World(memory={"worker": "900Mi", "growOnOOM": True})
    world.settle()
    world.pods.append(killed("worker", "900Mi"))
    world.settle()
    assert world.status["memory"]["worker"] == "1Gi"
    world.pods.append(killed("worker", "1Gi"))
    world.settle()
    assert world.reason() == ("False", "OutOfMemory")


def searched(**memory: Any) -> World:
    """A job at work that searches for its workers' size."""
    world = World(memory={"worker": "512Mi", "optimize": {"goal": "Cost"}} | memory)
    world.settle()
    world.functions("True")
    world.driver_runs()
    world.settle()
    return world


def limit(world: World, role: str = "worker") -> str:
    container = world.objects["Service", f"a-{role}"]["spec"]["template"]["spec"]["containers"][0]
    told = variables_of(container)
    found = str(container["resources"]["limits"]["memory"])
    searches = "optimize" in (world.job.document["spec"].get("memory") or {})
    assert told.get("SAPFLOW_MEMORY_BYTES") == (str(parse_quantity(found)) if searches else None)
    return found


def told(world: World) -> dict[str, Any]:
    """What the driver is told of its search."""
    return dict(json.loads(world.objects["ConfigMap", "a-spec"]["data"]["job.json"])["memorySearch"])


def asks(world: World, size: str) -> None:
    world.status["progress"] = {"step": 7, "memory": {"worker": size, "merger": "256Mi"}}


def test_the_size_that_a_search_asks_for_is_given_to_the_workers_and_starts_no_driver_anew() -> None:
    world = searched()
    assert limit(world) == "512Mi"
    driver = deepcopy(world.objects["Job", "a-driver"])
    asks(world, "768Mi")
    world.settle()
    assert (limit(world), limit(world, "merger")) == ("768Mi", "256Mi")
    assert world.status["memory"] == {"worker": "768Mi", "merger": "256Mi"}
    assert world.objects["Job", "a-driver"] == driver
    assert world.events.count("MemoryChanged") == 1
    world.status["progress"] = {"step": 8}
    world.settle()
    assert limit(world) == "768Mi", "a driver that says nothing asks for nothing else"


def test_driver_and_functions_read_the_first_size_whatever_is_in_force() -> None:
    world = searched()
    asks(world, "768Mi")
    world.settle()
    job = json.loads(world.objects["ConfigMap", "a-spec"]["data"]["job.json"])
    sizes = {role: job["spec"]["memory"][role] for role in ("worker", "merger")}
    assert sizes == {"worker": "512Mi", "merger": "256Mi"}


@pytest.mark.parametrize("size", ["300Mi", "2Gi", "much", ""])
def test_a_size_out_of_bounds_is_not_given(size: str) -> None:
    world = searched(optimize={"min": "400Mi", "max": "1Gi"})
    asks(world, size)
    world.settle()
    assert limit(world) == "512Mi"


def test_a_job_that_does_not_search_is_given_no_other_size(running: World) -> None:
    asks(running, "768Mi")
    running.settle()
    assert limit(running) == "512Mi"


def test_the_bounds_of_a_search_are_the_specs_and_the_operators() -> None:
    found = told(searched(optimize={"goal": "PerformancePerCost", "min": "400Mi", "everySteps": 5}))
    assert found == {
        "goal": "PerformancePerCost",
        "everySteps": 5,
        "maxUpdates": 5,
        "start": 512,
        "least": 400,
        "most": 1024,
        "step": 16,
        "seed": 0,
        "settleSeconds": 3.0,
    }
    # Without a bound of its own, up to the memory that brings as many CPUs as it computes with.
    world = World(memory={"optimize": {}})
    world.settings = SETTINGS.model_copy(update={"max_memory": "8Gi"})
    world.settle()
    assert told(world)["most"] == 1769


def test_a_size_that_a_worker_was_killed_over_is_left_upwards_and_its_driver_starts_anew_above_it() -> None:
    world = searched()
    asks(world, "384Mi")
    world.settle()
    world.pods.append(killed("worker", "384Mi"))
    world.driver_ends(3, {"reason": "InstanceLost", "message": "lost", "version": 2})
    world.settle()
    assert world.condition("Succeeded")["status"] == "Unknown"
    assert limit(world) == "576Mi"
    assert world.status["memory"] == {"worker": "576Mi", "merger": "256Mi", "workerKilled": "384Mi"}
    assert told(world)["least"] == 384 + 48
    assert world.events.count("MemoryGrown") == 1
    # The driver before still asks for it, and so does one that goes on from the last commit.
    assert world.status["progress"]["memory"]["worker"] == "384Mi"
    asks(world, "448Mi")
    world.settle()
    assert limit(world) == "448Mi"
    assert world.status["memory"]["workerKilled"] == "384Mi"


def test_a_size_just_above_a_killed_one_is_not_given_either() -> None:
    world = searched()
    world.pods.append(killed("worker", "512Mi"))
    world.settle()
    asks(world, "560Mi")
    world.settle()
    assert limit(world) == "768Mi"
    # Short of the largest, which may be all that is left.
    world = searched(worker="960Mi")
    world.pods.append(killed("worker", "960Mi"))
    world.settle()
    assert (told(world)["least"], told(world)["most"], limit(world)) == (1024, 1024, "1Gi")


def test_a_worker_killed_over_the_largest_size_of_a_search_fails_the_job_and_names_the_bound() -> None:
    world = searched(optimize={"max": "512Mi"})
    world.pods.append(killed("worker", "512Mi"))
    world.settle()
    assert world.reason() == ("False", "OutOfMemory")
    assert "spec.memory.optimize.max" in world.condition("Succeeded")["message"]


def test_pods_that_fit_on_no_node_are_said_in_functions_ready(running: World) -> None:
    unscheduled = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/2 nodes",
    }
    running.pods += [pod("worker", conditions=[unscheduled]), pod("worker", conditions=[unscheduled])]
    plan = running.reconcile()
    assert running.reason("FunctionsReady") == ("False", "Unschedulable")
    assert running.condition("FunctionsReady")["message"] == "2 of the workers: 0/2 nodes"
    assert plan.again is not None
    running.pods = running.pods[:1]
    running.settle()
    assert running.reason("FunctionsReady") == ("True", "Ready")


def test_an_image_that_cannot_be_pulled_is_said_in_functions_ready(running: World) -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    running.pods.append(pod("merger", state=waiting))
    running.reconcile()
    assert running.reason("FunctionsReady") == ("False", "ImagePullBackOff")


def test_what_knative_says_of_a_service_is_said_in_functions_ready(running: World) -> None:
    running.functions("False", "RevisionFailed", "quota exceeded")
    running.reconcile()
    assert running.reason("FunctionsReady") == ("False", "RevisionFailed")
    assert "quota exceeded" in running.condition("FunctionsReady")["message"]


def test_credentials_are_renewed_when_they_are_due_and_the_driver_runs_on(running: World) -> None:
    plan = running.reconcile()
    assert plan.again is not None
    running.now = NOW + timedelta(minutes=31)
    assert [type(each) for each in running.reconcile().actions] == [IssueCredentials]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"workers": 0}, "spec.workers"),
        ({"limits": {"invocationSeconds": 3600}}, "spec.limits.invocationSeconds: is 3600"),
        ({"data": {"source": "s3://sapflow/jobs/u2"}}, "below jobs/"),
        ({"data": {"source": "s3://data/x?endpoint=http://elsewhere"}}, "must be in the job's own store"),
        (
            {"storage": {"endpoint": "http://evil", "bucket": "sapflow"}},
            "spec.storage.secretName: is required",
        ),
    ],
)
def test_a_spec_that_only_the_operator_can_refuse_fails_the_job_and_makes_nothing(
    spec: dict[str, Any], said: str
) -> None:
    world = World(**spec)
    world.settle()
    assert world.reason() == ("False", "InvalidSpec")
    assert said in world.condition("Succeeded")["message"]
    assert world.objects == {}


def test_a_refused_spec_that_is_corrected_starts() -> None:
    world = World(limits={"invocationSeconds": 3600})
    world.settle()
    world.spec["limits"], world.generation = {"invocationSeconds": 60}, 2
    world.settle()
    assert world.reason() == ("Unknown", "Starting")


def test_a_store_that_is_away_is_waited_for_and_refused_credentials_are_not() -> None:
    world = World()
    plan = troubled(TRAINING_JOB, world.job, StoreUnavailable("no answer"), NOW)
    world.take(plan)
    assert world.reason("Planned") == ("False", "StoreUnavailable")
    assert world.reason() == ("Unknown", "StoreUnavailable")
    assert plan.again
    world.settle()
    assert world.reason() == ("Unknown", "Starting")
    world.take(troubled(TRAINING_JOB, world.job, CredentialsRefused("say shareCredentials"), NOW))
    assert world.reason() == ("False", "CredentialsRefused")


def test_what_the_api_server_refuses_is_tried_again_once_it_is_mended() -> None:
    """Seen right after an installation: the admission of owner references did not know the kind yet."""
    world = World()
    plan = troubled(TRAINING_JOB, world.job, ClusterError("403: cannot set blockOwnerDeletion", 403), NOW)
    world.take(plan)
    assert world.reason("Planned") == ("False", "ClusterRefused")
    assert world.reason() == ("Unknown", "ClusterRefused")
    assert plan.again
    world.settle()
    assert world.reason() == ("Unknown", "Starting")


def test_a_deleted_job_ends_its_driver_first_then_credentials_then_objects(running: World) -> None:
    first = plan_deletion(TRAINING_JOB, running.job, running.observed, NOW, SETTINGS)
    assert not first.done
    assert set(first.actions) == {
        Delete("Job", "a-driver"),
        Delete("Service", "a-worker"),
        Delete("Service", "a-merger"),
    }
    running.pods = []
    running.objects = {key: each for key, each in running.objects.items() if key[0] == "Secret"}
    last = plan_deletion(TRAINING_JOB, running.job, running.observed, NOW, SETTINGS)
    assert last.done
    assert [type(each) for each in last.actions] == [RevokeCredentials, Delete, RemoveObjects]
    removal = last.actions[-1]
    assert isinstance(removal, RemoveObjects)
    assert (removal.uid, removal.keep) == ("u1", True)


def test_with_shared_credentials_functions_too_must_have_ended_before_objects_go(running: World) -> None:
    notes = running.objects["Secret", "a-pool"]["metadata"]["annotations"]
    running.pods = [pod("worker", phase="Running")]
    assert plan_deletion(TRAINING_JOB, running.job, running.observed, NOW, SETTINGS).done
    notes[names.CREDENTIALS_KIND] = "shared"
    assert not plan_deletion(TRAINING_JOB, running.job, running.observed, NOW, SETTINGS).done


def test_deletion_policy_delete_keeps_nothing() -> None:
    storage = {"endpoint": "http://minio:9000", "bucket": "sapflow", "deletionPolicy": "Delete"}
    world = World(storage=storage)
    (removal,) = plan_deletion(TRAINING_JOB, world.job, world.observed, NOW, SETTINGS).actions
    assert isinstance(removal, RemoveObjects)
    assert not removal.keep


def test_a_job_that_was_never_valid_is_let_go_at_once() -> None:
    world = World(storage={"endpoint": "http://evil", "bucket": "x-bucket"})
    said = plan_deletion(TRAINING_JOB, world.job, world.observed, NOW, SETTINGS)
    assert (said.actions, said.done) == ((), True)


def test_a_condition_keeps_the_time_of_its_last_transition(running: World) -> None:
    since = running.condition("FunctionsReady")["lastTransitionTime"]
    running.now = NOW + timedelta(minutes=1)
    running.reconcile()
    assert running.condition("FunctionsReady")["lastTransitionTime"] == since
    running.functions("False", "X", "y")
    running.reconcile()
    assert running.condition("FunctionsReady")["lastTransitionTime"] == times.write(running.now)
