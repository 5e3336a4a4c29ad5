"""The job as all parts of the driver see it, and figures that follow from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sapflow.algorithms import schedules
from sapflow.algorithms.facts import Facts
from sapflow.algorithms.optimizers import Grouping
from sapflow.algorithms.schedules import Schedule
from sapflow.data.blocks import Manifest
from sapflow.data.sampler import split, steps_per_epoch
from sapflow.messages.documents import Document
from sapflow.messages.replies import RootReply
from sapflow.messages.requests import ParameterGroup, Update
from sapflow.messages.vectors import Part, Sizes
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.planning.extent import Extent
from sapflow.quantities import structure
from sapflow.records.commits import Commit, Cursor, LevelUsage, Measured, Records
from sapflow.records.plateau import PlateauState
from sapflow.spec import source_code
from sapflow.spec.training_job import TrainingJob
from sapflow.steps.calls import Caller
from sapflow.steps.observer import Observer
from sapflow.tasks.task import Task


@dataclass(frozen=True)
class Slices:
    """The samples of a step: rank → (begin, end) in the epoch's order, without ranks that have no samples."""

    cursor: Cursor
    ranks: dict[int, tuple[int, int]]
    after: Cursor


@dataclass(frozen=True)
class Context:
    """A job in a driver."""

    uid: str
    prefix: str
    """The common beginning of the job's keys."""
    job: TrainingJob
    manifest: Manifest
    store: Store
    records: Records
    caller: Caller
    observer: Observer
    spec_document: Document
    manifest_document: Document
    layout: list[Mapping[str, Any]] = field(default_factory=list)
    """Names of the model's state on the vector; empty until version 0 is known."""
    modules: dict[str, str] = field(default_factory=dict)
    """The SHA-256 of each module of the user's own that the model comes from; empty until version 0 is known."""

    @property
    def facts(self) -> Facts:
        """The job's algorithm with its settings."""
        return self.job.spec.algorithm.facts

    @property
    def task(self) -> Task:
        """The learning problem, made for the job's targets."""
        return self.manifest.task_for(scale_target=bool(self.job.spec.data.scale_target))

    @property
    def samples(self) -> int:
        return self.manifest.train_samples

    @property
    def round_samples(self) -> int:
        """The number of samples in a full step: workers × batch size × local steps."""
        spec = self.job.spec
        return spec.workers * spec.data.batch_size * self.facts.local_steps

    @property
    def full_samples(self) -> int:
        """The largest number of samples in a step: that of every step but the last of an epoch."""
        return min(self.round_samples, self.samples)

    @property
    def steps_per_epoch(self) -> int:
        return steps_per_epoch(self.samples, self.round_samples)

    @property
    def total_steps(self) -> int:
        """The number of steps of the job, or of contributions of each rank if commits count these."""
        algorithm = self.job.spec.algorithm
        return algorithm.steps or int(algorithm.epochs or 0) * self.steps_per_epoch

    @cached_property
    def extent(self) -> Extent:
        """The length of the job."""
        return Extent.of(self.job, self.samples)

    @property
    def schedule_total(self) -> int:
        """The number of optimiser updates of the job, as the learning-rate schedule counts them."""
        return self.extent.updates

    @cached_property
    def schedule(self) -> Schedule:
        """The learning-rate schedule, its lengths in updates."""
        return self.job.schedule(self.extent.updates_per_epoch)

    def learning_rate(self, update: int, plateau: PlateauState | None = None) -> float:
        """Learning rate of update `update`, from 0. `plateau`: where a schedule by the loss stands."""
        return schedules.learning_rate(
            self.job.spec.optimizer.learning_rate,
            self.schedule,
            update,
            self.schedule_total,
            1.0 if plateau is None else plateau.factor,
        )

    @property
    def code(self) -> str | None:
        """The fingerprint of the code that made version 0, for requests; None for built-in models."""
        return source_code.fingerprint(self.modules)

    def lay_out(self, layout: Sequence[Mapping[str, Any]], modules: Mapping[str, str] | None) -> None:
        """Version 0 is known, and with it where each parameter lies. Raises SpecError for groups without any."""
        self.layout[:] = layout
        self.modules.update(modules or {})
        _ = self.grouping

    @cached_property
    def grouping(self) -> Grouping | None:
        """The parameter groups on the whole vector, once it is laid out; None: all parameters are treated alike."""
        return self.job.grouping(self.layout)

    def update(self, number: int, rate: float, start: int, stop: int) -> Update:
        """The optimiser's update `number`, from 1, of elements `start` to `stop`."""
        grouping = None if self.grouping is None else self.grouping.between(start, stop)
        groups = ranges = None
        if grouping is not None:
            ranges = list(grouping.ranges)
            groups = [
                ParameterGroup(weight_decay=each.weight_decay, learning_rate_factor=each.factor)
                for each in grouping.groups
            ]
        return Update(
            kind="optimizer",
            settings=self.job.optimizer_settings.to_json(),
            learning_rate=rate,
            step=number,
            clip_norm=self.job.spec.optimizer.clip_norm,
            groups=groups,
            ranges=ranges,
        )

    def slices(self, cursor: Cursor) -> Slices:
        """The samples of each rank in the step that starts at `cursor`.

        The last step of an epoch is divided evenly. Every sample is used exactly once an epoch, whatever the number of
        workers.
        """
        end = min(cursor.used + self.round_samples, self.samples)
        parts = split(cursor.used, end, self.job.spec.workers)
        ranks = {rank: part for rank, part in enumerate(parts) if part[1] > part[0]}
        after = Cursor(epoch=cursor.epoch, used=end)
        if end == self.samples:
            after = Cursor(epoch=cursor.epoch + 1, used=0)
        return Slices(cursor, ranks, after)

    def slice_of(self, cursor: Cursor, rank: int) -> tuple[int, int]:
        """(begin, end) of a rank in the step that starts at `cursor`; they are equal if it has no samples."""
        end = min(cursor.used + self.round_samples, self.samples)
        count, workers = end - cursor.used, self.job.spec.workers
        return cursor.used + rank * count // workers, cursor.used + (rank + 1) * count // workers

    def cursor_of(self, step: int) -> Cursor:
        """The cursor at which step number `step`, from 0, starts."""
        epoch, within = divmod(step, self.steps_per_epoch)
        return Cursor(epoch=epoch, used=within * self.round_samples)

    def measured(self, reply: RootReply | None, seconds: float, rate: float | None) -> Measured:
        """The measurements for a commit, from the root's answer, which is None for version 0."""
        tally = self.caller.take_tally()
        samples, sums = (reply.samples, reply.losses) if reply is not None else (0, {})
        figures = self.task.training_metrics(sums, samples)
        accuracy = figures.pop("accuracy", None)
        return Measured(
            loss=sums["loss"] / samples if samples and "loss" in sums else None,
            accuracy=accuracy,
            metrics=figures or None,
            samples=samples,
            gradient_norm=reply.gradient_norm if reply is not None and self.facts.root_state else None,
            learning_rate=rate,
            seconds=seconds,
            phases=tally.phases,
            bytes_read=tally.bytes_read,
            bytes_written=tally.bytes_written,
            data_bytes=tally.data_bytes,
            data_seconds=tally.data_seconds,
            peak_memory_bytes=tally.peak_memory,
            memory_limits={role: sorted(limits) for role, limits in tally.limits.items()},
            store_read=tally.store_read,
            store_written=tally.store_written,
            nodes=tally.nodes or None,
            remade=dict(tally.remade) or None,
            resumed=tally.resumed,
            levels=[
                tally.levels.get(level, LevelUsage()) for level in range(max(tally.levels, default=-1) + 1)
            ],
        )


def shard_parts(sizes: Sizes, shards: int, names: list[str]) -> list[Part]:
    """The parts of a vector, one per shard."""
    ranges = structure.shard_ranges(sizes.total, shards, sizes.block)
    return [Part(key=key, start=start, stop=stop) for key, (start, stop) in zip(names, ranges, strict=True)]


def objects_after(
    prefix: str, commit: Commit, ident: str, shards: int, *, has_state: bool
) -> tuple[list[Part], list[Part]]:
    """The parameter and optimiser objects of the version after `commit`."""
    version, sizes = commit.version + 1, commit.sizes
    params = shard_parts(sizes, shards, [keys.params(prefix, version, ident, s) for s in range(shards)])
    state = [
        Part(
            key=keys.optimizer(prefix, version, ident, shard),
            start=part.start,
            stop=min(part.stop, sizes.parameters),
        )
        for shard, part in enumerate(params)
        if part.start < sizes.parameters
    ]
    return params, state if has_state else []
