"""What a store keeps of a pipeline: its forecast before the first stage, and what each run of it has taken."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sapflow.client import session, tuning
from sapflow.errors import CorruptObject
from sapflow.objects import keys
from sapflow.objects.documents import read_json
from sapflow.objects.stores.protocol import Store
from sapflow.planning.pipeline import PipelineForecast, RunTaken
from sapflow.spec.training_job import TrainingJob
from sapflow.spec.tuning_job import TuningJob

Body = TypeVar("Body", PipelineForecast, RunTaken)


def uid_of(stages: Sequence[TuningJob | TrainingJob]) -> str:
    """What a pipeline is called in a store: as its last document, and by what all of them follow from."""
    uids = [tuning.uid_of(each) if isinstance(each, TuningJob) else session.uid_of(each) for each in stages]
    return f"{stages[-1].metadata.name}-{keys.digest(uids, 8)}"


@dataclass(frozen=True, slots=True)
class PipelineRecord:
    """The records of a pipeline in a store."""

    store: Store
    prefix: str

    def forecast(self) -> PipelineForecast | None:
        """What was forecast before the first stage; None if nothing was. Raises CorruptObject, StoreError."""
        body = read_json(self.store, keys.forecast(self.prefix))
        return None if body is None else self._read(PipelineForecast, body)

    def begin(self, said: PipelineForecast) -> PipelineForecast:
        """Keep the forecast; what stands there now, which another run may have written before. Raises StoreError."""
        self.store.create(keys.forecast(self.prefix), json.dumps(said.body()).encode(), durable=True)
        return self.forecast() or said

    def runs(self) -> list[RunTaken]:
        """What each run has taken, in order. Raises CorruptObject, StoreError."""
        return list(self._runs())

    def add(self, taken: RunTaken) -> None:
        """Keep what a run has taken. Raises StoreError."""
        body, number = json.dumps(taken.body()).encode(), len(self.runs())
        while not self.store.create(keys.pipeline_run(self.prefix, number), body, durable=True):
            number += 1

    def forget(self) -> None:
        """Remove all of it."""
        self.store.delete_prefix(self.prefix)

    def _runs(self) -> Iterator[RunTaken]:
        number = 0
        while (body := read_json(self.store, keys.pipeline_run(self.prefix, number))) is not None:
            yield self._read(RunTaken, body)
            number += 1

    def _read(self, kind: type[Body], body: object) -> Body:
        try:
            return kind.model_validate(body)
        except ValueError as error:
            raise CorruptObject(f"a record below {self.prefix} is no {kind.__name__}: {error}") from error
