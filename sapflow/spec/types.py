"""The base of all models of the spec, and the types of names and quantities."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from sapflow.spec.trial_names import TRIAL_PATTERN

NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
MAX_NAME = 40
DOTTED_PATTERN = r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$"
MEMORY_PATTERN = r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)(k|M|G|T|Ki|Mi|Gi|Ti)?$"
CPU_PATTERN = r"^([0-9]{1,3}(\.[0-9]{1,3})?|[0-9]{1,6}m)$"
METRIC_PATTERN = r"^[a-z][A-Za-z0-9]*$"
JOB_PATTERN = rf"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?({TRIAL_PATTERN})?$"
URL_PATTERN = r"^https?://[^/\s]+/?$"
TEMPLATE_PATTERN = (
    r"^([^{}]|\{(label|probability|value|count|row\.[A-Za-z0-9_][A-Za-z0-9_. -]*)(:\.[0-9][f%])?\})*$"
)
MODEL_FILE_PATTERN = r"^s3://[a-z0-9][a-z0-9.-]+(/[A-Za-z0-9!_=+,@-][A-Za-z0-9!_.=+,@-]*)+\.safetensors$"
SHA256_PATTERN = r"^[0-9a-f]{64}$"

IN_WORDS = {
    NAME_PATTERN: "must be lower-case letters, digits and '-', with a letter or digit at both ends",
    DOTTED_PATTERN: "must be package.module:factory, as in own_model:build",
    MEMORY_PATTERN: "must be a quantity of memory, as 512Mi or 2Gi",
    CPU_PATTERN: "must be a number of CPUs, as 0.5, 2 or 500m",
    METRIC_PATTERN: "must be the name of a metric, as accuracy or macroF1",
    JOB_PATTERN: "must be the name of a job, or of a trial, as search/trials/7 or search/trials/best",
    URL_PATTERN: "must be http:// or https:// with a host and no path",
    TEMPLATE_PATTERN: "must be text with {label}, {probability}, {value}, {count} or {row.NAME} and no other braces; "
    "numbers may have a form, as {probability:.0%} or {value:.2f}",
    MODEL_FILE_PATTERN: "must be s3://bucket/…/model.safetensors",
    SHA256_PATTERN: "must be a SHA-256 of 64 hexadecimal digits",
}
"""Explanations of patterns for error messages; other patterns are shown as they are."""


class Model(BaseModel):
    """The base of all spec models: immutable, camelCase in documents, unknown fields are refused."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
        allow_inf_nan=False,
    )


Count = Annotated[int, Field(ge=1, lt=2**31)]
Seconds = Annotated[int, Field(ge=1, le=315_360_000)]
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=MAX_NAME)]
Dotted = Annotated[str, StringConstraints(pattern=DOTTED_PATTERN, max_length=253)]
Image = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$", max_length=512)]
ObjectName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
JobName = Annotated[str, StringConstraints(pattern=JOB_PATTERN, max_length=253)]
Memory = Annotated[str, StringConstraints(pattern=MEMORY_PATTERN, max_length=32)]
Cpu = Annotated[str, StringConstraints(pattern=CPU_PATTERN, max_length=16)]


def parse_cpu(quantity: str) -> float:
    """The CPUs of a Kubernetes quantity that matches CPU_PATTERN; `500m` is 0.5."""
    return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)
