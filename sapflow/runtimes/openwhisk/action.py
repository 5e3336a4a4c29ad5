"""The definition of an action."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sapflow.runtimes.openwhisk.limits import ANSWER_SECONDS


@dataclass(frozen=True, slots=True)
class Action:
    """An action made from an image. `environ` reaches its function by `/init`, and never its activations' records."""

    name: str
    image: str
    memory: int
    """Bytes; OpenWhisk counts in MiB, rounded up here."""
    time_limit: float
    """Seconds after which OpenWhisk ends an activation."""
    environ: Mapping[str, str] = field(repr=False)
    logs: int | None = None
    """The MiB of an activation's log that OpenWhisk collects; 0: none, None: as many as OpenWhisk chooses."""

    def seconds(self, asked: float) -> float:
        """How long a function may work that was to have `asked` seconds, so that its answer comes in time."""
        return min(asked, self.time_limit - ANSWER_SECONDS)

    def body(self) -> dict[str, Any]:
        """The body of the PUT request that creates the action."""
        limits = {
            "memory": math.ceil(self.memory / (1 << 20)),
            "timeout": round(1000 * self.time_limit),
            "concurrency": 1,
        }
        if self.logs is not None:
            limits["logs"] = self.logs
        return {
            "namespace": "_",
            "name": self.name,
            "exec": {"kind": "blackbox", "image": self.image, "binary": False},
            "limits": limits,
            "parameters": [
                {"key": name, "value": value, "init": True} for name, value in sorted(self.environ.items())
            ],
        }
