"""Estimates of many sets of parameters, of which few have models of their own to be measured."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from sapflow.data.manifest import Manifest
from sapflow.errors import SpecError
from sapflow.messages.replies import ModelSize
from sapflow.objects import keys
from sapflow.planning.workload import Size
from sapflow.spec.training_job import Runtime, TrainingJob
from sapflow.spec.tuning_document import training_job
from sapflow.spec.tuning_job import TuningJob
from sapflow.tuning.actions import Parameters
from sapflow.tuning.forecast.work import Estimate, Place, estimate
from sapflow.tuning.settings import LENGTHS

Measure = Callable[[Sequence[TrainingJob]], Awaitable[list[ModelSize]]]
"""Builds the models of jobs without allocating them."""
MOST_MODELS = 192
"""Models that are measured: a space may have any number of them."""
MOST_DRAWN = 64
"""Those of sets that are drawn, so that others are left for the corners."""
_SHAPED_BY = ("spec.model.", "spec.data.", "spec.workers", "spec.algorithm.", "spec.optimizer.")


class Estimates:
    """Estimates trials of one search. What is known of a model is kept."""

    def __init__(
        self, job: TuningJob, manifest: Manifest, place: Place, measure: Measure, runtime: Runtime
    ) -> None:
        """`place` is where trials are rehearsed, `runtime` the one that their jobs are for."""
        self.place, self.manifest, self._runtime = place, manifest, runtime
        self._job, self._measure = job, measure
        self._numbers = {each.path for each in job.spec.parameters if each.float_ is not None}
        self._sizes: dict[str, Size | SpecError] = {}

    def job_of(self, parameters: Parameters) -> TrainingJob:
        """The job of a trial. Raises SpecError where the values do not go together."""
        return training_job(self._job, parameters, self._runtime)

    async def of(
        self, sets: Sequence[Parameters], most: int = MOST_MODELS
    ) -> list[Estimate | SpecError | None]:
        """The estimate of each set; what is wrong with it; or None where its model is not among the first `most`."""
        jobs: list[TrainingJob | SpecError] = []
        for parameters in sets:
            try:
                jobs.append(self.job_of(parameters))
            except SpecError as error:
                jobs.append(error)
        await self._measure_models(sets, jobs, most)
        return [self._estimate(*each) for each in zip(sets, jobs, strict=True)]

    def again(self, parameters: Parameters, place: Place, compute: float) -> Estimate:
        """The estimate of a set that was estimated before, with other constants. Raises SpecError."""
        size = self._sizes[self._key(parameters)]
        assert isinstance(size, Size)
        return estimate(self.job_of(parameters), size, self.manifest, place, compute)

    def _estimate(self, parameters: Parameters, job: TrainingJob | SpecError) -> Estimate | SpecError | None:
        if isinstance(job, SpecError):
            return job
        size = self._sizes.get(self._key(parameters))
        if not isinstance(size, Size):
            return size
        try:
            return estimate(job, size, self.manifest, self.place)
        except SpecError as error:
            return error

    async def _measure_models(
        self, sets: Sequence[Parameters], jobs: Sequence[TrainingJob | SpecError], most: int
    ) -> None:
        wanted: dict[str, TrainingJob] = {}
        for parameters, job in zip(sets, jobs, strict=True):
            key = self._key(parameters)
            room = len(self._sizes) + len(wanted) < most
            if isinstance(job, TrainingJob) and key not in self._sizes and (room or key in wanted):
                wanted.setdefault(key, job)
        if not wanted:
            return
        for key, found in zip(wanted, await self._measure(list(wanted.values())), strict=True):
            self._sizes[key] = (
                Size(found.parameters, found.averaged, found.slots, found.forward_flops)
                if found.problems is None
                else SpecError(list(found.problems))
            )

    def _key(self, parameters: Parameters) -> str:
        """What a model's size may follow from. A number beside the model, as a learning rate, changes none."""
        shaping: dict[str, Any] = {
            path: value
            for path, value in parameters.items()
            if path.startswith("spec.model.")
            or (path.startswith(_SHAPED_BY) and path not in LENGTHS and path not in self._numbers)
        }
        return keys.digest(shaping)
