"""The operator's settings from its environment: the chart's values."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from sapflow.errors import SpecError
from sapflow.quantities.roles import Role

PullPolicy = Literal["Always", "IfNotPresent", "Never"]
Text = Annotated[str, Field(min_length=1)]
Positive = Annotated[int, Field(ge=1)]
Port = Annotated[int, Field(ge=1, le=65_535)]


def _from_json(value: object) -> object:
    """The value of a JSON text. Raises ValueError."""
    return json.loads(value) if isinstance(value, str) else value


class Image(BaseModel):
    model_config = ConfigDict(frozen=True)
    name: Text
    pull_policy: PullPolicy = "IfNotPresent"


class ObjectStorage(BaseModel):
    """The store for jobs that name none, with credentials that may make others."""

    model_config = ConfigDict(frozen=True)
    endpoint: Annotated[str, Field(pattern=r"^https?://[^/\s]+/?$")]
    bucket: Text
    region: Text = "us-east-1"
    access_key: Text
    secret_key: SecretStr


class StoreNetwork(BaseModel):
    """Where the pods or machines behind a store's endpoint are, for the network policies of functions.

    Policies are checked after a Service's address and port have been replaced by those of a pod.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    endpoint: Text
    ports: tuple[Port, ...] = ()
    """Ports of the pods or machines; empty means the endpoint's."""
    cidrs: tuple[Text, ...] = ()
    namespace_labels: dict[str, str] = Field({}, alias="namespaceLabels")
    pod_labels: dict[str, str] = Field({}, alias="podLabels")


class Settings(BaseModel):
    """The operator's settings; `variables` below maps them to environment variables."""

    model_config = ConfigDict(frozen=True)
    operator_image: Image
    worker_image: Image
    merger_image: Image
    preparer_image: Image
    server_image: Image
    """Serves models that need no torch; others are served by the worker's."""
    storage: ObjectStorage | None = None
    namespaces: tuple[str, ...] = ()
    """The watched namespaces; empty means all."""
    store_networks: Annotated[tuple[StoreNetwork, ...], BeforeValidator(_from_json)] = ()
    knative_namespace: Text = "knative-serving"
    """The namespace of Knative's activator and autoscaler."""
    gateway_namespaces: tuple[str, ...] = ("kourier-system", "istio-system", "contour-internal")
    """The namespaces of the gateways that Knative may use."""
    metrics_namespaces: tuple[str, ...] = ("sapflow-system",)
    """The namespaces whose pods may read the metrics of serving pods: the operator's own, and that of Prometheus."""
    max_running_jobs: Positive = 10
    window_seconds: Annotated[int, Field(ge=6, le=3600)] = 60
    """How long idle functions stay."""
    max_invocation_seconds: Positive = 600
    """Knative's max-revision-timeout-seconds."""
    max_memory: Text = "8Gi"
    """The largest memory limit that growOnOOM may give."""
    max_instances: Annotated[int, Field(ge=0)] = 0
    """Number of functions of a job that the cluster can run at once, for the planner; 0 means what its nodes hold."""
    credentials_seconds: Annotated[int, Field(ge=900, le=604_800)] = 3600
    deletion_seconds: Positive = 600
    """How long a deleted job waits for its store, and for pods that do not end, before it goes without clean-up."""
    driver_memory: Text = "512Mi"
    image_pull_secrets: tuple[str, ...] = ()
    resizes: bool = False
    """Whether the cluster resizes pods in place; the operator finds that out when it starts."""
    liveness_port: Positive = 8080
    metrics_port: Positive = 9090
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    def image(self, role: Role) -> Image:
        """The image of the functions of a role."""
        found: Image = getattr(self, f"{role}_image")
        return found

    def images(self, roles: Iterable[Role]) -> dict[str, str]:
        """The images for a resource that starts now: those of its driver, and of functions of these roles."""
        return {"driver": self.operator_image.name} | {role: self.image(role).name for role in roles}

    def pinned(self, images: Mapping[str, str]) -> "Settings":
        """With these images (see `images`) instead of those of a newer chart."""
        fields = {role: "operator_image" if role == "driver" else f"{role}_image" for role in images}
        update = {
            fields[role]: getattr(self, fields[role]).model_copy(update={"name": name})
            for role, name in images.items()
        }
        return self.model_copy(update=update)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings. Raises SpecError, which names every variable that is missing or wrong."""
        given: dict[str, Any] = {}
        for variable, path in VARIABLES.items():
            if value := _value(variable, environ):
                _place(given, path, value)
        for name in ("namespaces", "image_pull_secrets", "gateway_namespaces", "metrics_namespaces"):
            if name in given:
                given[name] = tuple(part for part in given[name].split(",") if part)
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise SpecError([(_variable(item["loc"]), item["msg"]) for item in error.errors()]) from error


VARIABLES: dict[str, tuple[str, ...]] = {
    "SAPFLOW_OPERATOR_IMAGE": ("operator_image", "name"),
    "SAPFLOW_OPERATOR_PULL_POLICY": ("operator_image", "pull_policy"),
    "SAPFLOW_WORKER_IMAGE": ("worker_image", "name"),
    "SAPFLOW_WORKER_PULL_POLICY": ("worker_image", "pull_policy"),
    "SAPFLOW_MERGER_IMAGE": ("merger_image", "name"),
    "SAPFLOW_MERGER_PULL_POLICY": ("merger_image", "pull_policy"),
    "SAPFLOW_PREPARER_IMAGE": ("preparer_image", "name"),
    "SAPFLOW_PREPARER_PULL_POLICY": ("preparer_image", "pull_policy"),
    "SAPFLOW_SERVER_IMAGE": ("server_image", "name"),
    "SAPFLOW_SERVER_PULL_POLICY": ("server_image", "pull_policy"),
    "SAPFLOW_S3_ENDPOINT": ("storage", "endpoint"),
    "SAPFLOW_S3_BUCKET": ("storage", "bucket"),
    "SAPFLOW_S3_REGION": ("storage", "region"),
    "SAPFLOW_S3_ACCESS_KEY": ("storage", "access_key"),
    "SAPFLOW_S3_SECRET_KEY": ("storage", "secret_key"),
    "SAPFLOW_NAMESPACES": ("namespaces",),
    "SAPFLOW_STORE_NETWORKS": ("store_networks",),
    "SAPFLOW_KNATIVE_NAMESPACE": ("knative_namespace",),
    "SAPFLOW_GATEWAY_NAMESPACES": ("gateway_namespaces",),
    "SAPFLOW_METRICS_NAMESPACES": ("metrics_namespaces",),
    "SAPFLOW_MAX_RUNNING_JOBS": ("max_running_jobs",),
    "SAPFLOW_WINDOW_SECONDS": ("window_seconds",),
    "SAPFLOW_MAX_INVOCATION_SECONDS": ("max_invocation_seconds",),
    "SAPFLOW_MAX_MEMORY": ("max_memory",),
    "SAPFLOW_MAX_INSTANCES": ("max_instances",),
    "SAPFLOW_CREDENTIALS_SECONDS": ("credentials_seconds",),
    "SAPFLOW_DELETION_SECONDS": ("deletion_seconds",),
    "SAPFLOW_DRIVER_MEMORY": ("driver_memory",),
    "SAPFLOW_IMAGE_PULL_SECRETS": ("image_pull_secrets",),
    "SAPFLOW_LIVENESS_PORT": ("liveness_port",),
    "SAPFLOW_METRICS_PORT": ("metrics_port",),
    "SAPFLOW_LOG_LEVEL": ("log_level",),
}
"""The environment variable of each field. If `NAME` is not set, the file `NAME_FILE` is read."""


def _value(variable: str, environ: Mapping[str, str]) -> str:
    if value := environ.get(variable):
        return value
    path = environ.get(f"{variable}_FILE")
    if not path:
        return ""
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise SpecError([(f"{variable}_FILE", f"{path} cannot be read: {error.strerror}")]) from error


def _place(given: dict[str, Any], path: tuple[str, ...], value: str) -> None:
    for name in path[:-1]:
        given = given.setdefault(name, {})
    given[path[-1]] = value


def _variable(location: tuple[int | str, ...]) -> str:
    for variable, path in VARIABLES.items():
        if path[: len(location)] == location or location[: len(path)] == path:
            return variable
    return ".".join(map(str, location))
