"""The kind TuningJob: one pool for all trials, limits that may be raised, and what is left when it is deleted."""

from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.operator_settings import SETTINGS as BARE
from pydantic import SecretStr

from sapflow.errors import SpecError
from sapflow.objects import keys
from sapflow.spec import resolved_search, tuning_document
from sapflow.spec.tuning_rules import TUNING_RULES
from sapflow_operator import names, times
from sapflow_operator.actions import Action, Apply, Delete, IssueCredentials, ReleaseParts
from sapflow_operator.kinds.crd import crd
from sapflow_operator.kinds.trial import TRIAL
from sapflow_operator.kinds.tuning_job import TUNING_JOB
from sapflow_operator.kinds.tuning_spec import TUNING_MUTABLE
from sapflow_operator.kinds.tuning_status import VALUE_CHARACTERS, parameter_texts
from sapflow_operator.observed import JobObject, Observed
from sapflow_operator.queue import Queue
from sapflow_operator.reconcile import Admission, plan_deletion, reconcile
from sapflow_operator.resources import role
from sapflow_operator.settings import ObjectStorage

STORAGE = ObjectStorage(
    endpoint="http://minio:9000", bucket="sapflow", access_key="operator", secret_key=SecretStr("secret")
)
SETTINGS = BARE.model_copy(update={"storage": STORAGE, "max_memory": "4Gi"})
NOW = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)
SAMPLE = yaml.safe_load((Path(__file__).parents[3] / "manifests" / "samples" / "tune.yaml").read_text())
OUTCOME = {
    "trial": 3,
    "version": 40,
    "objective": 0.97,
    "parameters": {"spec.optimizer.learningRate": 0.1, "spec.model.args.hidden": [128]},
    "endedBy": "Completed",
    "trials": {"begun": 32, "finished": 8},
    "uri": "s3://sapflow/jobs/u/result/model.safetensors",
    "sha256": "0" * 64,
}


class World:
    """A search and its children, made as they are asked for."""

    def __init__(self, **spec: Any) -> None:
        self.spec: dict[str, Any] = {**deepcopy(SAMPLE["spec"]), **spec}
        self.status: dict[str, Any] = {}
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.pods: list[dict[str, Any]] = []
        self.actions: list[Action] = []
        self.events: list[str] = []
        self.outcome: dict[str, Any] | None = None
        self.generation = 1
        self.now = NOW

    @property
    def job(self) -> JobObject:
        metadata = {
            "name": "digits-search",
            "namespace": "team",
            "uid": "u",
            "generation": self.generation,
            "creationTimestamp": times.write(NOW),
        }
        return JobObject.read(
            {"metadata": metadata, "spec": self.spec, "status": self.status}, names.TUNING_JOB
        )

    @property
    def observed(self) -> Observed:
        return Observed(self.objects, self.pods, self.outcome)

    def settle(self, rounds: int = 5) -> None:
        for _ in range(rounds):
            plan = reconcile(TUNING_JOB, self.job, self.observed, self.now, SETTINGS, Admission(True, 1))
            self.actions += plan.actions
            self.events += [f"{each.reason}: {each.message}" for each in plan.events]
            for action in plan.actions:
                self._do(action)
            if plan.status is not None:
                progress = self.status.get("progress")
                self.status = dict(plan.status) | ({} if progress is None else {"progress": progress})

    def _do(self, action: Action) -> None:
        match action:
            case Apply(manifest):
                found = dict(manifest)
                if manifest["kind"] == "Service":
                    found["status"] = {"latestReadyRevisionName": "a-00001"}
                self.objects[manifest["kind"], manifest["metadata"]["name"]] = found
            case IssueCredentials(wanted):
                name = names.pool_secret(wanted.pool)
                notes = {names.CREDENTIALS_KIND: "session", names.CREDENTIALS_KEYS: "key"}
                self.objects["Secret", name] = {"metadata": {"name": name, "annotations": notes}}
            case Delete(kind, name):
                self.objects.pop((kind, name), None)

    @property
    def driver(self) -> dict[str, Any]:
        return self.objects["Job", "digits-search-tune-driver"]

    def end(self, outcome: dict[str, Any]) -> None:
        self.driver["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
        self.outcome = outcome
        self.settle()

    def kill(self, role_: str) -> None:
        """A function is killed for memory."""
        service = self.objects["Service", f"digits-search-tune-{role_}"]
        container = service["spec"]["template"]["spec"]["containers"][0]
        ended = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
        self.pods.append(
            {
                "metadata": {"name": f"p{len(self.pods)}", "labels": {names.ROLE_LABEL: role_}},
                "spec": {"containers": [{"name": "user-container", "resources": container["resources"]}]},
                "status": {"containerStatuses": [{"name": "user-container", "lastState": ended}]},
            }
        )
        self.settle()

    def condition(self, type: str = "Succeeded") -> tuple[str, str]:
        found = next(each for each in self.status["conditions"] if each["type"] == type)
        return found["status"], found["reason"]

    def most(self, role_: str) -> int:
        service = self.objects["Service", f"digits-search-tune-{role_}"]
        return int(
            service["spec"]["template"]["metadata"]["annotations"]["autoscaling.knative.dev/max-scale"]
        )


@pytest.fixture
def world() -> World:
    found = World()
    found.settle()
    return found


def test_all_trials_share_one_pool_of_at_most_max_workers_instances(world: World) -> None:
    services = sorted(name for kind, name in world.objects if kind == "Service")
    assert services == ["digits-search-tune-merger", "digits-search-tune-worker"]
    assert (world.most("worker"), world.most("merger")) == (14, 2)
    assert world.condition() == ("Unknown", "Starting")


@pytest.mark.parametrize("most", [2, 3, 8, 9, 64, 1000])
def test_a_pool_never_has_more_instances_than_max_workers_unless_one_trial_needs_them(most: int) -> None:
    world = World(maxWorkers=most)
    world.settle()
    assert world.most("worker") >= 2
    assert world.most("merger") >= 1
    assert world.most("worker") + world.most("merger") <= max(most, 3)


def test_its_driver_reads_the_search_with_the_place_of_its_store_and_without_what_is_the_operators(
    world: World,
) -> None:
    text = world.objects["ConfigMap", "digits-search-tune-spec"]["data"][names.JOB_KEY]
    document = yaml.safe_load(text)
    assert document["metadata"] == {"name": "digits-search", "namespace": "team", "uid": "u"}
    assert document["spec"]["template"]["spec"]["storage"]["endpoint"] == "http://minio:9000"
    assert "suspend" not in document["spec"]
    read = resolved_search.read(document, keys.job("u")).job
    assert read.spec.parameters == tuning_document.parse(SAMPLE, "kubernetes").spec.parameters
    container = world.driver["spec"]["template"]["spec"]["containers"][0]
    assert container["command"][-1] == "sapflow_operator.driver_pod.search"


def test_a_raised_limit_starts_the_driver_anew_and_a_ttl_does_not(world: World) -> None:
    before = world.driver["metadata"]["annotations"]
    world.spec["ttlSecondsAfterFinished"] = 60
    world.settle()
    assert world.driver["metadata"]["annotations"] == before
    world.spec["maxTrials"] = 64
    world.settle()
    assert world.driver["metadata"]["annotations"] != before


def test_the_best_trial_is_its_result(world: World) -> None:
    world.end(OUTCOME)
    assert world.condition() == ("True", "Completed")
    result = world.status["result"]
    assert (result["trial"], result["objective"], result["endedBy"]) == (3, 0.97, "Completed")
    assert result["parameters"] == {
        "spec.model.args.hidden": "[128]",
        "spec.optimizer.learningRate": "0.1",
    }
    assert not [name for kind, name in world.objects if kind in ("Service", "Secret")]
    assert ReleaseParts(names.TRIAL) in world.actions


def test_a_search_that_ended_by_its_budget_has_succeeded_and_says_so(world: World) -> None:
    world.end(OUTCOME | {"endedBy": "BudgetExceeded"})
    assert world.condition() == ("True", "BudgetExceeded")


@pytest.mark.parametrize(
    ("before", "after", "goes_on"),
    [
        ({}, {"maxTrials": 33}, True),
        ({}, {"maxTrials": 31}, False),
        ({}, {"maxWorkers": 32}, False),
        ({"budgetUSD": 1.0}, {"budgetUSD": 1.5}, True),
        ({"budgetUSD": 1.0}, {"budgetUSD": None}, True),
        ({}, {"budgetUSD": 5.0}, False),
        ({"deadlineSeconds": 60}, {"deadlineSeconds": 120}, True),
    ],
)
def test_a_search_that_has_ended_goes_on_if_a_limit_is_raised(
    before: dict[str, Any], after: dict[str, Any], goes_on: bool
) -> None:
    world = World(**before)
    world.settle()
    world.end(OUTCOME)
    assert world.status["completionTime"]
    world.spec.update(after)
    world.spec = {name: value for name, value in world.spec.items() if value is not None}
    world.generation, world.outcome = 2, None
    world.now += timedelta(hours=2)
    world.settle()
    assert ("completionTime" not in world.status) == goes_on
    assert ("result" not in world.status) == goes_on
    assert (("Service", "digits-search-tune-worker") in world.objects) == goes_on
    if goes_on:
        assert world.condition() == ("Unknown", "Starting")
        assert "status" not in world.driver
        world.end(OUTCOME | {"trial": 40})
        assert world.status["result"]["trial"] == 40


def test_the_time_after_its_end_does_not_count_for_its_deadline() -> None:
    world = World(deadlineSeconds=600)
    world.settle()
    world.now += timedelta(seconds=500)
    world.settle(1)
    world.end(OUTCOME | {"endedBy": "DeadlineExceeded"})
    world.now += timedelta(days=1)
    world.spec["deadlineSeconds"], world.generation = 900, 2
    world.settle()
    assert world.condition() == ("Unknown", "Starting")
    assert world.status["activeSeconds"] == 500


def test_a_search_whose_driver_does_not_end_at_its_deadline_is_ended_by_the_operator() -> None:
    world = World(deadlineSeconds=60)
    world.settle()
    world.now += timedelta(seconds=600)
    world.settle()
    assert world.condition() == ("False", "DeadlineExceeded")
    assert any("spec.deadlineSeconds (60) is over" in each for each in world.events)


def test_the_pool_grows_once_for_all_trials_and_then_trials_fail_alone() -> None:
    template = deepcopy(SAMPLE["spec"]["template"])
    template["spec"]["memory"] = {"worker": "256Mi", "growOnOOM": True}
    world = World(template=template)
    world.settle()
    before = world.driver["metadata"]["annotations"]
    world.kill("worker")
    assert world.status["memory"]["worker"] == "384Mi"
    assert world.driver["metadata"]["annotations"] == before, "the driver reads it in the status"
    container = world.objects["Service", "digits-search-tune-worker"]["spec"]["template"]["spec"][
        "containers"
    ][0]
    assert {"name": "SAPFLOW_MEMORY_BYTES", "value": str(384 << 20)} in container["env"]
    assert any(each.startswith("MemoryGrown") and "once in a search" in each for each in world.events)
    world.kill("worker")
    assert world.status["memory"]["worker"] == "384Mi"
    assert world.condition("FunctionsReady") == ("False", "OutOfMemory")
    assert world.condition()[0] == "Unknown"


def test_a_trial_that_is_killed_for_memory_fails_alone_unless_the_pool_may_grow(world: World) -> None:
    world.kill("worker")
    assert "memory" not in world.status
    assert world.condition("FunctionsReady") == ("False", "OutOfMemory")
    said = next(each["message"] for each in world.status["conditions"] if each["type"] == "FunctionsReady")
    assert "raise spec.template.spec.memory.worker" in said
    assert world.condition()[0] == "Unknown"


OPTIMIZE = {"worker": "1Gi", "optimize": {"goal": "Cost", "min": "256Mi", "max": "1536Mi"}}


def sizing_world() -> World:
    template = deepcopy(SAMPLE["spec"]["template"])
    template["spec"]["memory"] = deepcopy(OPTIMIZE)
    world = World(template=template)
    world.settle()
    return world


def test_the_pool_gets_the_size_that_its_driver_asks_for_and_the_driver_goes_on() -> None:
    world = sizing_world()
    before = world.driver["metadata"]["annotations"]
    document = yaml.safe_load(world.objects["ConfigMap", "digits-search-tune-spec"]["data"][names.JOB_KEY])
    assert (document["memorySearch"]["start"], document["memorySearch"]["most"]) == (1024, 1536)
    world.status["progress"] = {"failed": 2, "memory": {"worker": "512Mi", "searching": True}}
    assert TUNING_JOB.asked(world.job) == "2 512Mi"
    world.settle()
    assert world.status["memory"]["worker"] == "512Mi"
    service = world.objects["Service", "digits-search-tune-worker"]["spec"]["template"]["spec"]
    assert service["containers"][0]["resources"]["limits"]["memory"] == "512Mi"
    assert any(each.startswith("MemoryChanged") for each in world.events)
    assert world.driver["metadata"]["annotations"] == before
    world.status["progress"]["memory"]["worker"] = "4Gi"
    world.settle()
    assert world.status["memory"]["worker"] == "512Mi", "it is above memory.optimize.max"


def test_a_size_that_kills_workers_is_never_given_again_and_where_there_is_no_larger_trials_fail_alone() -> (
    None
):
    world = sizing_world()
    world.status["progress"] = {"memory": {"worker": "512Mi"}}
    world.settle()
    world.kill("worker")
    assert (world.status["memory"]["worker"], world.status["memory"]["workerKilled"]) == ("768Mi", "512Mi")
    document = yaml.safe_load(world.objects["ConfigMap", "digits-search-tune-spec"]["data"][names.JOB_KEY])
    assert document["memorySearch"]["least"] > 512
    world.status["progress"] = {"memory": {"worker": "1536Mi"}}
    world.settle()
    world.kill("worker")
    assert world.condition("FunctionsReady") == ("False", "OutOfMemory")
    assert world.condition()[0] == "Unknown"
    said = next(each["message"] for each in world.status["conditions"] if each["type"] == "FunctionsReady")
    assert "raise spec.template.spec.memory.optimize.max" in said


def test_failed_trials_are_told_by_events_once(world: World) -> None:
    failures = [{"trial": 7, "reason": "NotFinite", "message": "the loss is nan"}]
    world.status["progress"] = {"failed": 3, "failures": failures}
    assert TUNING_JOB.asked(world.job) == "3"
    world.settle()
    assert [each for each in world.events if each.startswith("TrialFailed")] == [
        "TrialFailed: trial 7, and 2 before it: NotFinite: the loss is nan"
    ]


def test_deletion_lets_go_of_trials_after_the_driver_has_ended(world: World) -> None:
    labels = {names.ROLE_LABEL: names.DRIVER}
    pod = {"metadata": {"name": "d", "labels": labels}, "spec": {}, "status": {"phase": "Running"}}
    world.pods.append(pod)
    first = plan_deletion(TUNING_JOB, world.job, world.observed, world.now, SETTINGS)
    assert not first.done
    assert ReleaseParts(names.TRIAL) not in first.actions
    world.pods.clear()
    last = plan_deletion(TUNING_JOB, world.job, world.observed, world.now, SETTINGS)
    assert last.done
    assert ReleaseParts(names.TRIAL) in last.actions


def test_a_suspended_search_has_neither_driver_nor_functions_and_goes_on_as_it_was(world: World) -> None:
    world.spec["suspend"] = True
    world.settle()
    assert not [name for kind, name in world.objects if kind in ("Service", "Job")]
    assert world.condition() == ("Unknown", "Suspended")
    del world.spec["suspend"]
    world.settle()
    assert ("Job", "digits-search-tune-driver") in world.objects


def test_a_bad_template_is_refused_by_its_field_in_the_search() -> None:
    world = World()
    world.spec["template"] = {"spec": {**SAMPLE["spec"]["template"]["spec"], "batch": 3}}
    world.settle()
    assert world.condition() == ("False", "InvalidSpec")
    bare = SETTINGS.model_copy(update={"storage": None})
    with pytest.raises(SpecError, match=r"spec\.template\.spec\.storage"):
        TUNING_JOB.wanted(World().job, {}, bare)


def test_its_driver_may_report_its_progress_and_handle_trials_and_nothing_else(world: World) -> None:
    rules = role.build(TUNING_JOB.wanted(world.job, {}, SETTINGS))["rules"]
    assert [(each["resources"], each.get("resourceNames")) for each in rules] == [
        (["tuningjobs/status"], ["digits-search"]),
        (["trials"], None),
    ]


def test_a_search_counts_as_one_in_the_queue_of_all_kinds() -> None:
    called: list[tuple[str, str]] = []
    queue = Queue(1)

    def listen(kind: str) -> None:
        queue.listen(kind, lambda _, name: called.append((kind, name)))

    for kind in ("TrainingJob", "TuningJob"):
        listen(kind)
    first = replace(World().job, uid="a", created=NOW)
    second = replace(first, resource=names.TRAINING_JOB, uid="b", name="j", created=NOW + timedelta(1))
    queue.put(first)
    queue.put(second)
    assert queue.admit("a").may_start
    assert not queue.admit("b").may_start
    queue.call(queue.drop("a"))
    assert called == [("TrainingJob", "j")]
    assert queue.admit("b").may_start


def test_columns_and_rules_are_those_that_are_wanted() -> None:
    found = crd(TUNING_JOB)
    assert found["metadata"]["name"] == "tuningjobs.sapflow.dev"
    assert found["spec"]["names"]["shortNames"] == ["tune"]
    version = found["spec"]["versions"][0]
    columns = [each["name"] for each in version["additionalPrinterColumns"]]
    assert columns == ["Succeeded", "Reason", "Trials", "Running", "Pruned", "Best", "Cost", "Age"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    rules = spec["x-kubernetes-validations"]
    assert {rule.cel for rule in TUNING_RULES} <= {each["rule"] for each in rules}
    held = {each["fieldPath"].removeprefix(".") for each in rules if "oldSelf" in each["rule"]}
    assert held == set(spec["properties"]) - set(TUNING_MUTABLE)
    template = spec["properties"]["template"]["properties"]["spec"]
    assert any("merge.structure" in each["fieldPath"] for each in template["x-kubernetes-validations"])


def test_trials_have_columns_of_their_own_and_no_subresource() -> None:
    version = crd(TRIAL)["spec"]["versions"][0]
    columns = [each["name"] for each in version["additionalPrinterColumns"]]
    assert columns == ["State", "Step", "Objective", "Parameters", "Dollars", "Age"]
    assert "subresources" not in version


def test_long_values_of_parameters_are_cut() -> None:
    found = parameter_texts({"b": list(range(1000)), "a": 1e-3})
    assert list(found) == ["a", "b"]
    assert found["a"] == "0.001"
    assert len(found["b"]) == VALUE_CHARACTERS
