"""Every name, label, annotation, path and variable that parts of a job in a cluster know each other by."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sapflow.quantities.roles import Role
from sapflow.spec.labels import CELL, GROUP, JOB, PLURAL, ROLE, VERSION, selector

__all__ = ["GROUP", "PLURAL", "VERSION", "selector"]

API_VERSION = f"{GROUP}/{VERSION}"


@dataclass(frozen=True, slots=True)
class Resource:
    """A custom resource of ours, as paths, owner references and children's names know it."""

    kind: str
    plural: str
    suffix: str = ""
    """Behind a resource's name in its children's, so that resources of two kinds may have one name."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Of its children, beside those that all have: KIND_LABEL. TrainingJob, the first kind, goes without."""

    def pool(self, name: str) -> str:
        """What the names of a resource's children begin with."""
        return f"{name}{self.suffix}"


TRAINING_JOB = Resource("TrainingJob", PLURAL)
KIND = TRAINING_JOB.kind
RESOURCES = (TRAINING_JOB,)
"""All of ours: what the operator may touch follows from them."""

OPERATOR_MANAGER = "sapflow-operator"
DRIVER_MANAGER = "sapflow-driver"
FINALIZER = f"{GROUP}/cleanup"

JOB_LABEL, ROLE_LABEL, CELL_LABEL = JOB, ROLE, CELL
KIND_LABEL = f"{GROUP}/kind"
SPEC_DIGEST = f"{GROUP}/spec-digest"
CREDENTIALS_KIND = f"{GROUP}/credentials"
CREDENTIALS_KEYS = f"{GROUP}/access-keys"
CREDENTIALS_EXPIRE = f"{GROUP}/credentials-expire"
CREDENTIALS_RENEW = f"{GROUP}/credentials-renew"

DRIVER = "driver"
FUNCTION_PORT = 8080
DRIVER_METRICS_PORT = 9090

JOB_FOLDER = "/etc/sapflow/job"
JOB_KEY, PLACEMENT_KEY = "job.json", "placement.json"
JOB_FILE, PLACEMENT_FILE = f"{JOB_FOLDER}/{JOB_KEY}", f"{JOB_FOLDER}/{PLACEMENT_KEY}"
CELL_FOLDER = "/cell"
POOL_FOLDER = "/etc/sapflow/pool"
TOKEN_KEY, ACCESS_KEY, SECRET_KEY, SESSION_TOKEN = "token", "access-key", "secret-key", "session-token"

EXIT_SUCCEEDED = 0
EXIT_FAILED = 3
"""The driver's word that the job cannot go on; any other exit code is a crash."""
TERMINATION_LOG = "/dev/termination-log"


def function(job: str, role: Role, cell: int | None = None) -> str:
    """The Knative Service of a role, where the job is placed of a role in one cell."""
    return f"{job}-{role}" if cell is None else f"{job}-{role}-{cell}"


def cell_volume(job: str, cell: int) -> str:
    """The claim to the volume of a cell."""
    return f"{job}-cell-{cell}"


def driver(job: str) -> str:
    """The driver's Job, ServiceAccount, Role and RoleBinding."""
    return f"{job}-driver"


def spec_config_map(job: str) -> str:
    return f"{job}-spec"


def pool_secret(job: str) -> str:
    return f"{job}-pool"


def functions_policy(job: str) -> str:
    return f"{job}-functions"


def function_url(job: str, namespace: str, role: Role, cell: int | None = None) -> str:
    """Where the functions of a role are invoked inside the cluster."""
    return f"http://{function(job, role, cell)}.{namespace}.svc.cluster.local/invoke"


def labels(job: str, role: str | None = None, cell: int | None = None) -> dict[str, str]:
    """The labels of a child; `role` worker, merger or driver."""
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
    """What functions and driver are told of their pool; the files are those of the mounted Secret."""
    return {
        "SAPFLOW_STORE": store_url,
        "SAPFLOW_TOKEN_FILE": f"{POOL_FOLDER}/{TOKEN_KEY}",
        "SAPFLOW_S3_ACCESS_KEY_FILE": f"{POOL_FOLDER}/{ACCESS_KEY}",
        "SAPFLOW_S3_SECRET_KEY_FILE": f"{POOL_FOLDER}/{SECRET_KEY}",
        "SAPFLOW_S3_SESSION_TOKEN_FILE": f"{POOL_FOLDER}/{SESSION_TOKEN}",
    }


def cell_environment(cell: int) -> dict[str, str]:
    """What the functions of a cell are told besides."""
    return {"SAPFLOW_CELL": str(cell), "SAPFLOW_CELL_DIRECTORY": CELL_FOLDER}


def owner(resource: Resource, name: str, uid: str) -> dict[str, Any]:
    """The ownerReference to a resource: its children go with it."""
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
