"""What a serving process answers, for all protocols: decisions on rows, the model's metadata, and its readiness."""

import asyncio
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sapflow.release import RELEASE
from sapflow.serving import v2
from sapflow.serving.batcher import Batcher
from sapflow.serving.decisions import Decision
from sapflow.serving.drift import Drift
from sapflow.serving.metrics import ServerMetrics
from sapflow.serving.output_tensors import OutputTensors
from sapflow.serving.raw_rows import RawRows
from sapflow.serving.refusal import Refused, bad_rows
from sapflow.serving.served_model import Computed, ServedModel
from sapflow.spec.serving.serve import BatchSpec, ServeLimitsSpec

EXTENSIONS = ("binary_tensor_data", "model_configuration")


@dataclass(frozen=True, slots=True)
class Identity:
    """What a model is called."""

    name: str
    version: str
    sha256: str = ""


class Server:
    """One model of one version, its limits and its counters."""

    def __init__(
        self,
        model: ServedModel,
        identity: Identity,
        limits: ServeLimitsSpec | None = None,
        batch: BatchSpec | None = None,
        token: Callable[[], str] | None = None,
    ) -> None:
        """`token` gives the bearer token that requests must have; None: none is asked for."""
        self.model, self.identity, self.token = model, identity, token
        self.limits, batch = limits or ServeLimitsSpec(), batch or BatchSpec()
        self.metrics = ServerMetrics()
        self.drift = Drift(model.table.columns)
        self.batcher = Batcher(self._compute, batch.rows, batch.wait_milliseconds / 1000)
        self._tensors = OutputTensors(model.decisions, model.about.outputs)

    @property
    def ready(self) -> bool:
        """Whether requests are answered: the golden rows were."""
        return self.metrics.ready

    def check_ready(self) -> None:
        """Raise Refused before the model is ready."""
        if not self.ready:
            raise Refused(
                503, "NotReady", "the model is not ready yet; send the request again", retryable=True
            )

    def check_model(self, name: str, version: str | None) -> None:
        """Raise Refused unless this is the model, and the version if one is named."""
        own = self.identity
        if name != own.name:
            raise Refused(404, "UnknownModel", f"there is no model {name[:80]!r}; this server has {own.name}")
        if version and version != own.version:
            raise Refused(
                404,
                "UnknownVersion",
                f"there is no version {version[:80]!r} of {name}; this is {own.version}",
            )

    def check_caller(self, authorization: str) -> None:
        """Raise Refused unless the caller has the token, if one is asked for, and not too many wait already."""
        if self.token is not None:
            scheme, _, token = authorization.partition(" ")
            expected = self.token()
            if (
                not expected
                or scheme.lower() != "bearer"
                or not hmac.compare_digest(token.encode(), expected.encode())
            ):
                raise Refused(401, "Unauthorized", "the request does not carry the service's bearer token")
        if self.metrics.in_flight > self.limits.waiting:
            raise Refused(
                429,
                "TooManyRequests",
                f"{self.limits.waiting:,} requests wait already (limits.waiting): send it again in a moment",
                retryable=True,
            )

    async def decide(self, rows: RawRows) -> list[Decision]:
        """The decisions on the rows of one request. Raises Refused where a row cannot be used, or time is up."""
        try:
            async with asyncio.timeout(self.limits.seconds):
                computed = await self.batcher.compute(rows)
        except TimeoutError as error:
            raise Refused(
                503,
                "Timeout",
                f"the request took longer than {self.limits.seconds:g} s (limits.seconds): send fewer rows, or try "
                "again later",
                retryable=True,
            ) from error
        if computed.bad:
            self.metrics.refused(each.column or "(row)" for each in computed.bad)
            raise bad_rows(list(computed.bad))
        made = self.model.decide(computed.outputs, rows)
        self.metrics.rows += rows.count
        self.metrics.decided(str(each["label"]) for each in made if "label" in each)
        return made

    def tensors(self, made: Sequence[Decision]) -> list[v2.Tensor]:
        """Decisions as tensors."""
        return self._tensors.of(made)

    def server_metadata(self) -> dict[str, Any]:
        """What this server is, for `GET /v2`."""
        return {"name": "sapflow", "version": RELEASE, "extensions": list(EXTENSIONS)}

    def model_metadata(self) -> dict[str, Any]:
        """What the model takes and gives."""
        return {
            "name": self.identity.name,
            "versions": [self.identity.version],
            "platform": "sapflow",
            "inputs": v2.metadata_inputs(self.model.table),
            "outputs": self._tensors.metadata(),
        }

    def model_config(self) -> dict[str, Any]:
        """The same in the words of the model configuration extension."""
        metadata = self.model_metadata()
        return {
            "name": self.identity.name,
            "platform": "sapflow",
            "backend": "sapflow",
            "max_batch_size": 0,
            "input": [_configured(each) for each in metadata["inputs"]],
            "output": [_configured(each) for each in metadata["outputs"]],
        }

    def metrics_text(self) -> str:
        """All metrics of the process."""
        return self.metrics.text(self.batcher.forwards, self.drift.unseen, self.drift.outside)

    def _compute(self, rows: RawRows) -> Computed:
        computed = self.model.compute(rows)
        self.drift.count(rows)
        return computed


def _configured(tensor: Mapping[str, Any]) -> dict[str, Any]:
    datatype = "STRING" if tensor["datatype"] == v2.BYTES else tensor["datatype"]
    return {"name": tensor["name"], "data_type": f"TYPE_{datatype}", "dims": tensor["shape"]}
