"""How a run of a job or a search has ended, before anything of it is printed."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sapflow.cli.output import print_json
from sapflow.client.answering import ServableModel
from sapflow.planning.pipeline import StageKind, StageTaken
from sapflow.spec.serving.serve import ServingSpec


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a run: done, failed or interrupted."""

    code: int
    """The exit code."""
    body: Mapping[str, Any]
    """All of it as a JSON value."""
    say: Callable[[], None]
    """Prints it for people."""
    model: ServableModel | None = None
    """Of one that is done and has a model."""
    serve: ServingSpec | None = None
    """How its model is to be served, where the spec says it."""
    environ: Mapping[str, str] = field(default_factory=dict)
    """Where the model's own code can be imported."""
    taken: tuple[StageTaken, ...] = ()
    """What this run has taken, by stage."""

    def tell(self, *, as_json: bool) -> int:
        """Print it; the exit code."""
        if as_json:
            print_json(dict(self.body))
        else:
            self.say()
        return self.code


@dataclass(slots=True)
class Clock:
    """Measures the stages of a run that come one after the other."""

    document: str
    stage: StageKind
    _began: float = field(default_factory=time.monotonic)
    _done: list[StageTaken] = field(default_factory=list)

    def next(self, stage: StageKind) -> None:
        """End the stage under way, and begin another."""
        now = time.monotonic()
        self._done.append(StageTaken(document=self.document, stage=self.stage, seconds=now - self._began))
        self.stage, self._began = stage, now

    def taken(self, costs: Mapping[StageKind, float] | None = None) -> tuple[StageTaken, ...]:
        """All of them until now, with the dollars of all runs of those that are known."""
        now, known = time.monotonic(), costs or {}
        last = StageTaken(document=self.document, stage=self.stage, seconds=now - self._began)
        return tuple(
            each.model_copy(update={"cost_usd": known.get(each.stage)}) for each in (*self._done, last)
        )
