"""A ModelService with the model that it is to serve, from which its children follow."""

import json
from dataclasses import dataclass
from math import ceil
from typing import ClassVar

from sapflow.quantities import cpu_limits
from sapflow.quantities.memory import parse_quantity
from sapflow.spec.model_service import ModelServiceSpec
from sapflow.spec.serving.serve import LIGHT_MEMORY, TORCH_MEMORY, ScaleSpec, ServeLimitsSpec
from sapflow.spec.serving.served import ServedDocument
from sapflow.spec.types import parse_cpu
from sapflow_operator import names
from sapflow_operator.chosen_model import ChosenModel
from sapflow_operator.knative_times import ANSWER_SECONDS, START_SECONDS
from sapflow_operator.settings import Image
from sapflow_operator.wanted import Owned

STABLE = "stable"
"""The tag of the revision that serves while a canary is compared with it."""


@dataclass(frozen=True)
class ServiceWanted(Owned):
    """What a ModelService asks for: one revision, and what all of its revisions share."""

    spec: ModelServiceSpec
    model: ChosenModel
    revision: str = ""
    """The name of the revision; see `resources.serving_service.named`."""

    resource: ClassVar = names.MODEL_SERVICE

    @property
    def scale(self) -> ScaleSpec:
        return self.spec.scale or ScaleSpec()

    @property
    def limits(self) -> ServeLimitsSpec:
        return self.spec.limits or ServeLimitsSpec()

    @property
    def grpc(self) -> bool:
        """Whether requests speak gRPC."""
        return self.spec.protocol == "Grpc"

    @property
    def http_port(self) -> int:
        """Where a process is asked for its metrics, by HTTP."""
        return names.BESIDE_PORT if self.grpc else names.FUNCTION_PORT

    @property
    def asks_token(self) -> bool:
        return self.spec.auth is None or self.spec.auth.mode == "Bearer"

    @property
    def own_token(self) -> bool:
        """Whether the bearer token is one that is made for the service."""
        return self.asks_token and (self.spec.auth is None or self.spec.auth.secret_name is None)

    @property
    def token_secret(self) -> str:
        """The name of the Secret with the bearer token."""
        named = None if self.spec.auth is None else self.spec.auth.secret_name
        return named or names.token_secret(self.pool)

    @property
    def compares(self) -> bool:
        """Whether a canary asks the other version the same."""
        return self.spec.canary is not None and self.spec.canary.min_agreement is not None

    @property
    def compare_url(self) -> str:
        """The URL of the version that serves while a canary is compared with it."""
        return names.tagged_url(STABLE, self.pool, self.namespace)

    @property
    def image(self) -> Image:
        """The user's where the model needs one, the worker's where it needs torch, else the server's."""
        own, settings = self.model.image, self.settings
        if own is not None:
            return settings.worker_image.model_copy(update={"name": own})
        return settings.worker_image if self.model.torch else settings.server_image

    @property
    def memory(self) -> str:
        """The memory limit of a process."""
        asked = None if self.spec.resources is None else self.spec.resources.memory
        return asked or (TORCH_MEMORY if self.model.torch else LIGHT_MEMORY)

    @property
    def cpu(self) -> float:
        """The CPU limit of a process, in cores."""
        asked = None if self.spec.resources is None else self.spec.resources.cpu
        return cpu_limits.limit(parse_quantity(self.memory), None if asked is None else parse_cpu(asked))

    @property
    def cpu_millis(self) -> tuple[int, int]:
        """Limit and request of CPU in thousandths: the request is a tenth."""
        limit = ceil(round(1000 * self.cpu, 6))
        return limit, ceil(limit / 10)

    @property
    def threads(self) -> int:
        """Threads of a process that computes."""
        return max(1, int(self.cpu))

    @property
    def timeout_seconds(self) -> int:
        """How long Knative lets a request take, the start of a pod included; the process itself is stricter."""
        longest = max(ceil(self.limits.seconds), START_SECONDS) + ANSWER_SECONDS
        return min(longest, self.settings.max_invocation_seconds)

    @property
    def document(self) -> str:
        """What a process of the revision reads of it, as JSON."""
        spec, entrypoint = self.spec, self.model.entrypoint
        document = ServedDocument(
            name=self.name,
            version=self.revision,
            key=self.model.key,
            sha256=self.model.sha256,
            entrypoints=[] if entrypoint is None else [entrypoint],
            decision=spec.decision,
            batch=spec.batch,
            limits=spec.limits,
            asks_token=self.asks_token,
        )
        return json.dumps(
            document.model_dump(by_alias=True, mode="json", exclude_none=True), sort_keys=True, indent=1
        )
