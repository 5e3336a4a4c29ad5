"""All names, labels, annotations, paths and variables by which the parts of a job in a cluster know each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sapflow.quantities.roles import Role
from sapflow.spec import service_names
from sapflow.spec.labels import (
    CELL,
    GROUP,
    JOB,
    PLURAL,
    ROLE,
    SERVICE_PLURAL,
    TRIAL_PLURAL,
    TUNING,
    TUNING_PLURAL,
    VERSION,
    selector,
)
from sapflow.spec.labels import (
    KIND as KIND_LABEL,
)

__all__ = ["GROUP", "KIND_LABEL", "PLURAL", "VERSION", "selector"]

API_VERSION = f"{GROUP}/{VERSION}"


@dataclass(frozen=True, slots=True)
class Resource:
    """A custom resource, as needed for paths, owner references and names of children."""

    kind: str
    plural: str
    suffix: str = ""
    """Added to the resource's name in names of children, so that resources of two kinds may have the same name."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Further labels of its children (KIND_LABEL). TrainingJob, the first kind, has none."""

    def pool(self, name: str) -> str:
        """The beginning of the names of a resource's children."""
        return f"{name}{self.suffix}"


TRAINING_JOB = Resource("TrainingJob", PLURAL)
KIND = TRAINING_JOB.kind
TUNING_JOB = Resource("TuningJob", TUNING_PLURAL, "-tune", {KIND_LABEL: "TuningJob"})
TRIAL = Resource("Trial", TRIAL_PLURAL)
"""A trial of a TuningJob, as it is shown. The search's driver writes it, and the operator only takes its finalizer."""
MODEL_SERVICE = Resource("ModelService", SERVICE_PLURAL, service_names.SUFFIX, {KIND_LABEL: "ModelService"})
RESOURCES = (TRAINING_JOB, TUNING_JOB, MODEL_SERVICE)
"""The custom resources that the operator serves; its rights follow from them."""

OPERATOR_MANAGER = "sapflow-operator"
DRIVER_MANAGER = "sapflow-driver"
FINALIZER = f"{GROUP}/cleanup"
TRIAL_VERBS = ("get", "list", "watch", "create", "patch", "delete")
"""What the driver of a search may do with objects of trials, and the operator, which gives that right."""
TRIAL_FINALIZER = f"{GROUP}/trial"
"""Keeps the object of a trial that is deleted until the search's driver has seen that, and has stopped the trial."""

JOB_LABEL, ROLE_LABEL, CELL_LABEL, TUNING_LABEL = JOB, ROLE, CELL, TUNING
UID_LABEL = f"{GROUP}/uid"
"""The uid of the resource that a child belongs to, because a later resource may have the same name."""
SERVED_BY = f"{GROUP}/served-by"
"""An annotation of a ModelService that a job's or search's spec.serve has made: whose."""
KNATIVE_REVISION = "serving.knative.dev/revision"
"""Knative's label of a pod: the revision that it is of."""
KNATIVE_SERVICE_UID = "serving.knative.dev/serviceUID"
"""Knative's label of a function's pod."""
STORE_PLACE = f"{GROUP}/store"
"""An annotation with the place of a resource's objects."""
SPEC_DIGEST = f"{GROUP}/spec-digest"
CREDENTIALS_KIND = f"{GROUP}/credentials"
CREDENTIALS_KEYS = f"{GROUP}/access-keys"
CREDENTIALS_EXPIRE = f"{GROUP}/credentials-expire"
CREDENTIALS_RENEW = f"{GROUP}/credentials-renew"
CREDENTIALS_READ = f"{GROUP}/credentials-read"
"""The folders that credentials may read, of those that only read."""

KUEUE = "kueue.x-k8s.io/"
QUEUE_LABEL = f"{KUEUE}queue-name"
"""The queue of Kueue that a job waits in."""

DRIVER, SERVER = "driver", "server"
FUNCTION_PORT = 8080
BESIDE_PORT = 8081
"""Where a serving process whose requests speak gRPC is asked for its metrics."""
DRIVER_METRICS_PORT = 9090

JOB_FOLDER = "/etc/sapflow/job"
JOB_KEY, PLACEMENT_KEY = "job.json", "placement.json"
JOB_FILE, PLACEMENT_FILE = f"{JOB_FOLDER}/{JOB_KEY}", f"{JOB_FOLDER}/{PLACEMENT_KEY}"
CELL_FOLDER = "/cell"
POOL_FOLDER = "/etc/sapflow/pool"
SERVICE_FOLDER, TOKEN_FOLDER = "/etc/sapflow/service", "/etc/sapflow/token"
SERVICE_KEY, COMPARE_KEY = "service.json", "compare-url"
TOKEN_KEY, ACCESS_KEY, SECRET_KEY, SESSION_TOKEN = (
    service_names.TOKEN_KEY,
    "access-key",
    "secret-key",
    "session-token",
)

EXIT_SUCCEEDED = 0
EXIT_FAILED = 3
"""The driver's exit code if the job cannot continue. Other codes than this and 0 are crashes."""
TERMINATION_LOG = "/dev/termination-log"


def function(job: str, role: Role, cell: int | None = None) -> str:
    """The name of the Knative Service of a role, for a placed job in one cell."""
    return f"{job}-{role}" if cell is None else f"{job}-{role}-{cell}"


def cell_volume(job: str, cell: int) -> str:
    """The name of the claim for a cell's volume."""
    return f"{job}-cell-{cell}"


def driver(job: str) -> str:
    """The name of the driver's Job, ServiceAccount, Role, RoleBinding and NetworkPolicy."""
    return f"{job}-driver"


def spec_config_map(job: str) -> str:
    return f"{job}-spec"


def pool_secret(job: str) -> str:
    return f"{job}-pool"


def token_secret(service: str) -> str:
    """The name of the Secret with the bearer token of a ModelService that names none."""
    return service_names.token_secret(service)


def server_policy(service: str) -> str:
    """The name of the NetworkPolicy of a ModelService's pods."""
    return f"{service}-server"


def served_key(revision: str) -> str:
    """The key, in the ConfigMap of a ModelService, of what the processes of a revision read."""
    return f"{revision}.json"


def tagged_url(tag: str, service: str, namespace: str) -> str:
    """The URL inside the cluster of the revision of a Knative Service that has a tag."""
    return f"http://{tag}-{service}.{namespace}.svc.cluster.local"


def functions_policy(job: str) -> str:
    """The name of the NetworkPolicy of the functions; the driver's is named as the driver."""
    return f"{job}-functions"


def function_url(job: str, namespace: str, role: Role, cell: int | None = None) -> str:
    """The URL inside the cluster at which functions of a role are invoked."""
    return f"http://{function(job, role, cell)}.{namespace}.svc.cluster.local/invoke"


def labels(job: str, role: str | None = None, cell: int | None = None) -> dict[str, str]:
    """The labels of a child; `role` is worker, merger or driver."""
    found = {
        "app.kubernetes.io/name": "sapflow",
        "app.kubernetes.io/component": role or "job",
        "app.kubernetes.io/managed-by": OPERATOR_MANAGER,
        "app.kubernetes.io/part-of": "sapflow",
        JOB_LABEL: job,
    }
    if role:
        found[ROLE_LABEL] = role
    if cell is not None:
        found[CELL_LABEL] = str(cell)
    return found


def pool_environment(store_url: str) -> dict[str, str]:
    """The environment variables of functions and driver about their pool. The files are in the mounted Secret."""
    return {"SAPFLOW_TOKEN_FILE": f"{POOL_FOLDER}/{TOKEN_KEY}", **store_environment(store_url)}


def store_environment(store_url: str) -> dict[str, str]:
    """The environment variables about the store. The files are in the mounted Secret."""
    return {
        "SAPFLOW_STORE": store_url,
        "SAPFLOW_S3_ACCESS_KEY_FILE": f"{POOL_FOLDER}/{ACCESS_KEY}",
        "SAPFLOW_S3_SECRET_KEY_FILE": f"{POOL_FOLDER}/{SECRET_KEY}",
        "SAPFLOW_S3_SESSION_TOKEN_FILE": f"{POOL_FOLDER}/{SESSION_TOKEN}",
    }


def cell_environment(cell: int) -> dict[str, str]:
    """Further environment variables for the functions of a cell."""
    return {"SAPFLOW_CELL": str(cell), "SAPFLOW_CELL_DIRECTORY": CELL_FOLDER}


def owner(resource: Resource, name: str, uid: str) -> dict[str, Any]:
    """The ownerReference to a resource, with which its children are deleted."""
    return {
        "apiVersion": API_VERSION,
        "kind": resource.kind,
        "name": name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def kind_of(labels: Mapping[str, str]) -> str:
    """The kind of resource that a child belongs to."""
    return labels.get(KIND_LABEL, KIND)


def role_of(labels: Mapping[str, str]) -> str:
    return labels.get(ROLE_LABEL, "")


def cell_of(labels: Mapping[str, str]) -> int | None:
    cell = labels.get(CELL_LABEL, "")
    return int(cell) if cell.isdecimal() else None
