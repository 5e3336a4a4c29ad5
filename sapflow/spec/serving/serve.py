"""`spec.serve` of jobs and searches, and what a ModelService shares with it. Rules are in service_rules.py."""

from typing import Annotated, Literal

from pydantic import Field

from sapflow.spec.serving.decision import DecisionSpec, Share
from sapflow.spec.types import Count, Cpu, Memory, Model, Name, ObjectName, Seconds

LIGHT_MEMORY, TORCH_MEMORY = "256Mi", "1Gi"
"""Memory limits where none is said: of a model that numpy computes, and of one that needs torch."""


class ScaleSpec(Model):
    """In a cluster: how many processes serve."""

    min: Annotated[int, Field(ge=0, le=1000)] = Field(
        0, description="Processes that are always there; 0: none where nobody asks."
    )
    max: Annotated[int, Field(ge=1, le=1000)] = Field(10, description="Processes at most.")
    concurrency: Annotated[int, Field(ge=1, le=1000)] = Field(
        16, description="Requests that one process answers at once; more start another."
    )


class ResourcesSpec(Model):
    """In a cluster: limits of a serving process."""

    memory: Memory | None = Field(
        None,
        description=f"Its memory; left out: {LIGHT_MEMORY} where the model needs no torch, {TORCH_MEMORY} where it "
        "does.",
    )
    cpu: Cpu | None = Field(None, description="Its CPUs; left out: 1.")


class BatchSpec(Model):
    """How requests that come at once are computed together. Each caller gets its own answer."""

    rows: Annotated[int, Field(ge=1, le=100_000)] = Field(256, description="Rows computed at once, at most.")
    wait_milliseconds: Annotated[int, Field(ge=0, le=1000)] = Field(
        0, description="How long a request waits for others; 0: it is computed with what waits already."
    )


class CanarySpec(Model):
    """In a cluster: how a new version takes over. It gets `percent` of the requests, and twice as many after each step
    that it stands, until it has all; one that fails a bound gets none."""

    percent: Annotated[int, Field(ge=1, le=99)] = Field(10, description="The part of the first step.")
    step_seconds: Seconds = Field(60, description="How long a step takes, at least.")
    min_requests: Count = Field(100, description="Requests that a step waits for.")
    max_error_rate: Share | None = Field(
        None,
        description="The largest part of requests that may fail by the server's fault; 0.01 if left out.",
    )
    max_p99_seconds: Annotated[float, Field(gt=0, le=3600)] | None = Field(
        None, description="The longest time that 99 % of the requests are answered in; left out: any."
    )
    min_agreement: Share | None = Field(
        None,
        description="The least part of compared requests in which both versions decide alike; left out: none are "
        "compared.",
    )


class AuthSpec(Model):
    """Who may ask."""

    mode: Literal["Bearer", "None"] = Field(
        "Bearer", description="Bearer: who sends the token. None: everybody who reaches the service."
    )
    secret_name: ObjectName | None = Field(
        None,
        description="In a cluster: the Secret with the token under `token`; left out: one is made.",
    )


class ServeLimitsSpec(Model):
    """What one request may take. A larger one is refused, by an error that names the limit."""

    body_bytes: Annotated[int, Field(ge=1024, le=1 << 30)] = Field(4 << 20, description="Bytes of a request.")
    rows: Annotated[int, Field(ge=1, le=1_000_000)] = Field(1000, description="Rows of a request.")
    seconds: Annotated[float, Field(gt=0, le=600)] = Field(30.0, description="Seconds until a request fails.")
    waiting: Annotated[int, Field(ge=1, le=100_000)] = Field(
        256, description="Requests that a process holds at once; it answers 429 to more."
    )


class ServingSpec(Model):
    """What jobs, searches and ModelServices say alike of a served model."""

    protocol: Literal["Rest", "Grpc"] | None = Field(
        None,
        description="In a cluster: what requests speak. Rest, or left out: `POST /predict` and the Open Inference "
        "Protocol over HTTP; Grpc: that protocol over gRPC alone.",
    )
    scale: ScaleSpec | None = Field(None, description="In a cluster: left out: 0 to 10 processes.")
    resources: ResourcesSpec | None = None
    decision: DecisionSpec | None = None
    batch: BatchSpec | None = None
    canary: CanarySpec | None = Field(
        None, description="In a cluster: left out: a new version takes over once it is ready."
    )
    auth: AuthSpec | None = Field(None, description="Left out: a bearer token is needed.")
    limits: ServeLimitsSpec | None = Field(None, description="Left out: all defaults.")


class ServeSpec(ServingSpec):
    """Serves the model once it is trained: in a cluster a ModelService, which stays when the job is deleted; on this
    machine `sapflow serve` takes it from here."""

    name: Name | None = Field(
        None,
        description="The ModelService's name; left out: the job's. The next job of it makes a new version.",
    )
