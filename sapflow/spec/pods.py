"""spec.pods: additions to the pods of a job's functions and driver in a cluster. Rules for them are in pod_rules.py."""

import re
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from sapflow.spec.types import Model, ObjectName

LABEL_VALUE = r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$"
_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_MOST = 16

LabelValue = Annotated[str, StringConstraints(pattern=LABEL_VALUE, max_length=63)]
ConfigKey = Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253)]
Labels = Annotated[dict[str, LabelValue], Field(min_length=1, max_length=_MOST)]
Annotations = Annotated[
    dict[str, Annotated[str, StringConstraints(max_length=1024)]], Field(min_length=1, max_length=_MOST)
]


class PullSecretSpec(Model):
    """A Secret of the job's namespace with the credentials of a registry."""

    name: ObjectName = Field(description="The Secret's name.")


class TolerationSpec(Model):
    """A taint of nodes that the pods accept, as in a pod's own `tolerations`."""

    key: Annotated[str, StringConstraints(min_length=1, max_length=317)] | None = Field(
        None, description="The taint's key; left out: every key, which needs operator Exists."
    )
    operator: Literal["Equal", "Exists"] | None = Field(None, description="Left out: Equal.")
    value: LabelValue | None = Field(None, description="The taint's value, for Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="The taint's effect; left out: all effects."
    )
    toleration_seconds: Annotated[int, Field(ge=0, le=315_360_000)] | None = Field(
        None,
        description="Seconds until a pod goes after such a taint has come, for NoExecute; left out: it stays.",
    )


class KeySpec(Model):
    """A key of a Secret or ConfigMap of the job's namespace."""

    name: ObjectName = Field(description="The object's name.")
    key: ConfigKey = Field(description="The key in it.")
    optional: bool | None = Field(
        None, description="Whether pods start without it; left out: they wait for it."
    )


class SourceSpec(Model):
    """Where the value of an environment variable comes from; one of the two."""

    secret_key_ref: KeySpec | None = Field(None, description="A Secret's key.")
    config_map_key_ref: KeySpec | None = Field(None, description="A ConfigMap's key.")


class EnvSpec(Model):
    """An environment variable of functions and driver."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)] = Field(
        description="Its name; those that Sapflow and Knative set are refused."
    )
    value: Annotated[str, StringConstraints(max_length=4096)] | None = Field(None, description="Its value.")
    value_from: SourceSpec | None = Field(None, description="Instead of a value.")


class PodsSpec(Model):
    """Additions to the pods of functions and driver. What the restricted Pod Security Standard forbids has no field
    here."""

    node_selector: Labels | None = Field(
        None,
        description="Labels of the nodes that may run the pods. Knative needs `kubernetes.podspec-nodeselector`.",
    )
    tolerations: Annotated[list[TolerationSpec], Field(min_length=1, max_length=_MOST)] | None = Field(
        None, description="Taints that the pods accept. Knative needs `kubernetes.podspec-tolerations`."
    )
    priority_class_name: ObjectName | None = Field(
        None, description="The pods' PriorityClass. Knative needs `kubernetes.podspec-priorityclassname`."
    )
    image_pull_secrets: Annotated[list[PullSecretSpec], Field(min_length=1, max_length=_MOST)] | None = Field(
        None, description="Beside those that the chart names."
    )
    labels: Labels | None = Field(
        None, description="Further labels. Those that Sapflow and Knative set are refused."
    )
    annotations: Annotations | None = Field(
        None, description="Further annotations. Those that Sapflow and Knative set are refused."
    )
    env: Annotated[list[EnvSpec], Field(min_length=1, max_length=32)] | None = Field(
        None, description="Environment variables."
    )

    @field_validator("node_selector", "labels", "annotations")
    @classmethod
    def _keys(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        for key in value or ():
            if not _KEY.fullmatch(key):
                raise ValueError(f"must have keys as tier or example.com/tier, not {key!r}")
        return value
