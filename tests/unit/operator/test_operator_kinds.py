"""A second kind beside TrainingJob: a pool of its own roles, and children of its own names."""

import asyncio
import re
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, ClassVar, Self, cast

import kopf
import pytest
from helpers.operator_settings import SETTINGS as BARE
from pydantic import BaseModel, SecretStr

from sapflow.quantities.roles import Role
from sapflow_operator import names, times
from sapflow_operator.actions import Apply, Delete, IssueCredentials
from sapflow_operator.api.cluster import Cluster
from sapflow_operator.controller import Controller
from sapflow_operator.handlers import register
from sapflow_operator.kind import Definition, Kind
from sapflow_operator.kinds.crd import crd
from sapflow_operator.kinds.status_schema import status_schema
from sapflow_operator.kinds.training_job import TRAINING_JOB
from sapflow_operator.names import Resource
from sapflow_operator.observed import JobObject, Observed
from sapflow_operator.queue import Queue
from sapflow_operator.reconcile import Admission, plan_deletion, reconcile
from sapflow_operator.settings import ObjectStorage, Settings
from sapflow_operator.wanted import Group, Place, Wanted, place_of

STORAGE = ObjectStorage(
    endpoint="http://minio:9000", bucket="sapflow", access_key="operator", secret_key=SecretStr("secret")
)
SETTINGS = BARE.model_copy(update={"storage": STORAGE})
NOW = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)
SUM = Resource("Sum", "sums", "-sum", {names.KIND_LABEL: "Sum"})
KNOWN = {"latestReadyRevisionName": "a-00001"}


class SumSpec(BaseModel):
    """Sums, by mergers alone."""

    mergers: int = 1
    suspend: bool = False


@dataclass(frozen=True)
class SumPool(Wanted):
    """Mergers, and a driver that calls them."""

    mergers: int
    size: str = "128Mi"

    resource: ClassVar[Resource] = SUM
    roles: ClassVar[tuple[Role, ...]] = ("merger",)
    driver_module: ClassVar[str] = "sums.driver"
    threads: ClassVar[int] = 2
    invocation_seconds: ClassVar[float] = 60
    source: ClassVar[str] = ""
    grows: ClassVar[bool] = True

    @property
    def groups(self) -> list[Group]:
        return [Group("merger", None, self.mergers)]

    @property
    def told(self) -> object:
        return {"mergers": self.mergers}

    @property
    def documents(self) -> dict[str, str]:
        return {"sum.json": str(self.mergers)}

    @property
    def sizes(self) -> dict[Role, str]:
        return {"merger": self.size}

    def with_sizes(self, sizes: Mapping[Role, str]) -> Self:
        return replace(self, size=sizes["merger"])


class SumKind(Kind[SumPool]):
    resource: ClassVar[Resource] = SUM
    roles: ClassVar[tuple[Role, ...]] = ("merger",)
    result: ClassVar[tuple[str, ...]] = ("total",)
    definition: ClassVar[Definition] = Definition(
        short_names=("sm",),
        description="A sum.",
        spec=SumSpec,
        spec_description="What to sum.",
        made_from="sums.py",
        mutable=("suspend",),
        rules=(),
        columns=({"name": "Total", "type": "number", "jsonPath": ".status.result.total"},),
        status=status_schema(("merger",), {}),
    )

    def wanted(self, job: JobObject, status: Mapping[str, Any], settings: Settings) -> SumPool:
        size = status.get("memory", {}).get("merger", "128Mi")
        place, mergers = place_of(None, settings), job.spec.get("mergers", 1)
        return SumPool(job.name, job.namespace, job.uid, place, settings, mergers, size)

    def place_and_policy(self, job: JobObject, settings: Settings) -> tuple[Place, bool]:
        return place_of(None, settings), True

    def describe(self, wanted: SumPool) -> str:
        return f"sums by {wanted.mergers}"


KIND = SumKind()


def body(kind: str, status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    metadata = {"name": "a", "namespace": "team", "uid": f"uid-{kind}", "creationTimestamp": times.write(NOW)}
    return {"kind": kind, "metadata": metadata, "spec": spec, "status": status or {}}


class World:
    """The children of one Sum, made as they are asked for."""

    def __init__(self) -> None:
        self.status: dict[str, Any] = {}
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.pods: list[dict[str, Any]] = []
        self.issued = 0

    @property
    def job(self) -> JobObject:
        return JobObject.read(body("Sum", self.status, mergers=3), SUM)

    def settle(self, outcome: dict[str, Any] | None = None) -> None:
        for _ in range(4):
            observed = Observed(self.objects, self.pods, outcome)
            plan = reconcile(KIND, self.job, observed, NOW, SETTINGS, Admission(True, 1))
            for action in plan.actions:
                match action:
                    case Apply(manifest):
                        found = dict(manifest)
                        if manifest["kind"] == "Service":
                            found["status"] = KNOWN
                        self.objects[manifest["kind"], manifest["metadata"]["name"]] = found
                    case IssueCredentials(wanted):
                        self.issued += 1
                        name = names.pool_secret(wanted.pool)
                        notes = {names.CREDENTIALS_KIND: "session", names.CREDENTIALS_KEYS: "key"}
                        self.objects["Secret", name] = {"metadata": {"name": name, "annotations": notes}}
                    case Delete(kind, name):
                        self.objects.pop((kind, name), None)
            if plan.status is not None:
                self.status = dict(plan.status)


@pytest.fixture
def world() -> World:
    found = World()
    found.settle()
    return found


def test_a_pool_has_services_of_its_own_roles_and_of_no_others(world: World) -> None:
    assert [name for kind, name in world.objects if kind == "Service"] == ["a-sum-merger"]
    policy = world.objects["NetworkPolicy", "a-sum-functions"]["spec"]["podSelector"]
    assert policy["matchExpressions"][0]["values"] == ["merger"]
    assert policy["matchLabels"] == {names.JOB_LABEL: "a", names.KIND_LABEL: "Sum"}
    assert world.status["images"] == {
        "driver": SETTINGS.operator_image.name,
        "merger": SETTINGS.merger_image.name,
    }


def test_children_are_named_labelled_and_owned_apart_from_a_trainingjobs_of_the_same_name(
    world: World,
) -> None:
    made = [each for (kind, _), each in world.objects.items() if kind != "Secret"]
    assert all(each["metadata"]["name"].startswith("a-sum") for each in made)
    for each in made:
        assert names.kind_of(each["metadata"]["labels"]) == "Sum"
        (owner,) = each["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"]) == ("Sum", "uid-Sum")
    (rule,) = world.objects["Role", "a-sum-driver"]["rules"]
    assert rule["resources"] == ["sums/status"]


def test_its_driver_runs_its_own_module_on_its_own_files_and_its_outcome_is_its_result(world: World) -> None:
    assert world.objects["ConfigMap", "a-sum-spec"]["data"] == {"sum.json": "3"}
    job = world.objects["Job", "a-sum-driver"]
    assert job["spec"]["template"]["spec"]["containers"][0]["command"][-1] == "sums.driver"
    job["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    world.settle({"total": 7, "loss": 1.0})
    assert world.status["result"] == {"total": 7}
    assert not [name for kind, name in world.objects if kind in ("Service", "Secret")]


def test_a_function_of_it_that_is_killed_for_memory_is_given_more(world: World) -> None:
    container = world.objects["Service", "a-sum-merger"]["spec"]["template"]["spec"]["containers"][0]
    ended = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    pod = {
        "metadata": {"name": "p", "labels": {names.ROLE_LABEL: "merger"}},
        "spec": {"containers": [{"name": "user-container", "resources": container["resources"]}]},
        "status": {"containerStatuses": [{"name": "user-container", "lastState": ended}]},
    }
    world.pods.append(pod)
    world.settle()
    assert world.status["memory"] == {"merger": "192Mi"}
    grown = world.objects["Service", "a-sum-merger"]["spec"]["template"]["spec"]["containers"][0]
    assert grown["resources"]["limits"]["memory"] == "192Mi"


def test_a_pod_of_another_kinds_role_is_no_trouble_of_it(world: World) -> None:
    waiting = {"name": "user-container", "state": {"waiting": {"reason": "ErrImagePull"}}}
    pod = {"metadata": {"name": "p", "labels": {names.ROLE_LABEL: "worker"}}, "spec": {}}
    world.pods.append(pod | {"status": {"containerStatuses": [waiting]}})
    world.settle()
    conditions = {each["type"]: each for each in world.status["conditions"]}
    assert conditions["FunctionsReady"]["reason"] == "Deploying"


def test_its_deletion_ends_its_own_children(world: World) -> None:
    plan = plan_deletion(KIND, world.job, Observed(world.objects, ()), NOW, SETTINGS)
    assert plan.done
    gone = [(each.kind, each.name) for each in plan.actions if isinstance(each, Delete)]
    assert gone == [("Service", "a-sum-merger"), ("Job", "a-sum-driver"), ("Secret", "a-sum-pool")]


def test_its_definition_is_generated_as_the_first_ones_is() -> None:
    found = crd(KIND)
    assert found["metadata"]["name"] == "sums.sapflow.dev"
    version = found["spec"]["versions"][0]
    columns = [each["name"] for each in version["additionalPrinterColumns"]]
    assert columns == ["Succeeded", "Reason", "Total", "Age"]
    rules = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"]
    assert [each["fieldPath"] for each in rules] == [".mergers"]
    status = version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
    assert set(status["images"]["properties"]) == {"driver", "merger"}
    assert set(status["memory"]["properties"]) == {"merger"}


class Watched(Controller):
    """A controller whose looks are only noted."""

    def __init__(self, kind: Kind[Any]) -> None:
        super().__init__(SETTINGS, Cluster(), kind)
        self.touched: list[tuple[str, str]] = []

    def touch(self, namespace: str, name: str) -> None:
        self.touched.append((namespace, name))


def test_handlers_have_names_that_an_annotation_may_have() -> None:
    """A deleted resource stayed for ever where its handler's state could not be kept: its name began with `_`."""
    registry = kopf.OperatorRegistry()
    register(registry, [Watched(TRAINING_JOB), Watched(KIND)])
    found = {str(handler.id) for handler in registry._changing.get_all_handlers()}
    assert found == {"changed", "deleted"}
    assert all(re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?", name) for name in found)


def test_a_childs_event_reaches_the_controller_of_its_kind() -> None:
    registry, controllers = kopf.OperatorRegistry(), [Watched(TRAINING_JOB), Watched(KIND)]
    register(registry, controllers)
    handlers = registry._watching.get_all_handlers()
    (fn,) = [each.fn for each in handlers if each.selector and each.selector.any_name == "pods"]
    watched = {each.selector.any_name for each in handlers if each.selector}
    assert {"trainingjobs", "sums"} <= watched
    pods: Callable[..., Coroutine[Any, Any, None]] = cast("Any", fn)
    events: list[dict[str, str]] = [
        names.labels("one", "worker"),
        {**names.labels("two", "merger"), **SUM.labels},
        {**names.labels("three", "merger"), names.KIND_LABEL: "Unknown"},
        {"app": "another's"},
    ]
    for labels in events:
        asyncio.run(pods(namespace="team", labels=labels))
    assert [each.touched for each in controllers] == [[("team", "one")], [("team", "two")]]


def test_controllers_know_only_the_resources_of_their_kind() -> None:
    controller = Watched(KIND)
    controller.seen(body("Sum", mergers=2))
    (job,) = controller.jobs
    assert (job.resource, job.pool, job.spec) == (SUM, "a-sum", {})
    assert Queue(1).put(job)
