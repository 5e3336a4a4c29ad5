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
from sapflow.data.dealing import Deal, Share, steps_per_epoch
from sapflow.messages.documents import Document
from sapflow.messages.replies import RootReply
from sapflow.messages.requests import Ahead, ParameterGroup, RootRequest, Slice, Update
from sapflow.messages.vectors import Part, Sizes
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.planning.extent import Extent
from sapflow.quantities import structure
from sapflow.records.commits import Commit, Cursor, LevelUsage, Measured, Records, ScheduleLengths
from sapflow.records.plateau import PlateauState
from sapflow.spec import source_code
from sapflow.spec.training_job import TrainingJob
from sapflow.steps.calls import Caller
from sapflow.steps.observer import Observer
from sapflow.tasks.task import Task


@dataclass(frozen=True)
class Slices:
    """The samples of a step by rank, without ranks that have no samples."""

    cursor: Cursor
    ranks: dict[int, list[Slice]]
    after: Cursor

    def samples(self, rank: int) -> int:
        return sum(each.end - each.begin for each in self.ranks[rank])


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
    images: dict[str, str] | None = None
    """The images of the functions by role, where the driver knows them."""
    lengths: ScheduleLengths | None = None
    """How long the learning-rate schedule is, where the number of workers has changed since the job began."""

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
    def rank_samples(self) -> int:
        """The number of samples of a rank in a full step: batch size × local steps."""
        return self.job.spec.data.batch_size * self.facts.local_steps

    @property
    def round_samples(self) -> int:
        """The number of samples in a full step: workers × batch size × local steps."""
        return self.job.spec.workers * self.rank_samples

    @property
    def full_samples(self) -> int:
        """The largest number of samples in a step: that of every step but the last of an epoch."""
        return min(self.round_samples, self.samples)

    @property
    def steps_per_epoch(self) -> int:
        drop_last = bool(self.job.spec.data.drop_last)
        return steps_per_epoch(self.samples, self.round_samples, drop_last=drop_last)

    @property
    def total_steps(self) -> int:
        """The number of steps of the job, or of contributions of each rank if commits count these."""
        if self.lengths is not None:
            return self.lengths.steps
        algorithm = self.job.spec.algorithm
        return algorithm.steps or int(algorithm.epochs or 0) * self.steps_per_epoch

    @cached_property
    def extent(self) -> Extent:
        """The length of the job."""
        return Extent.of(self.job, self.samples)

    @property
    def schedule_total(self) -> int:
        """The number of optimiser updates of the job, as the learning-rate schedule counts them."""
        return self.extent.updates if self.lengths is None else self.lengths.updates

    @cached_property
    def schedule(self) -> Schedule:
        """The learning-rate schedule, its lengths in updates."""
        epoch = self.extent.updates_per_epoch if self.lengths is None else self.lengths.epoch
        return self.job.schedule(epoch)

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

    def deal(self, cursor: Cursor, workers: int | None = None) -> Deal:
        """How the samples of the cursor's epoch are dealt to the job's workers, or to another number."""
        count = workers or self.job.spec.workers
        earlier = tuple((each.workers, each.steps) for each in cursor.dealings or ())
        if (count, earlier) not in self._deals:
            if len(self._deals) > 1:
                self._deals.clear()
            drop_last = bool(self.job.spec.data.drop_last)
            self._deals[count, earlier] = Deal(
                self.samples, self.rank_samples, count, earlier, drop_last=drop_last
            )
        return self._deals[count, earlier]

    @cached_property
    def _deals(self) -> dict[tuple[int, tuple[tuple[int, int], ...]], Deal]:
        return {}

    def slices(self, cursor: Cursor, workers: int | None = None) -> Slices:
        """The samples of each rank in the step that starts at `cursor`, of the job's workers or another number.

        The last step of an epoch is divided evenly. Every sample is used exactly once an epoch, whatever the number of
        workers.
        """
        deal = self.deal(cursor, workers)
        step = deal.step_at(cursor.used)
        ranks = {
            rank: [_slice(share) for share in shares]
            for rank in range(deal.workers)
            if (shares := deal.shares(rank, step))
        }
        after = Cursor(epoch=cursor.epoch, used=deal.used_after(step + 1), dealings=cursor.dealings)
        if step + 1 >= deal.steps:
            after = Cursor(epoch=cursor.epoch + 1, used=0)
        return Slices(cursor, ranks, after)

    def slices_of(self, cursor: Cursor, rank: int) -> list[Slice]:
        """The samples of one rank in the step that starts at `cursor`; none: []."""
        deal = self.deal(cursor)
        return [_slice(share) for share in deal.shares(rank, deal.step_at(cursor.used))]

    def ahead(self, cursor: Cursor, rank: int) -> Ahead | None:
        """What a rank takes in the step that starts at `cursor`, if it is worthwhile to read that before."""
        slices = self.slices_of(cursor, rank) if self.store.remote else []
        return Ahead(epoch=cursor.epoch, slices=slices) if slices else None

    def finished(self, version: int, cursor: Cursor) -> bool:
        """Whether a job whose versions are steps has come to its end with this version."""
        algorithm = self.job.spec.algorithm
        if algorithm.steps is not None:
            return version >= algorithm.steps
        return cursor.epoch >= int(algorithm.epochs or 0)

    def cursor_of(self, step: int) -> Cursor:
        """The cursor at which step number `step`, from 0, starts, where the number of workers never changed."""
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
            cpus=sorted(tally.cpus) or None,
            libraries={name: sorted(found) for name, found in sorted(tally.libraries.items())} or None,
            images=self.images,
            remade=dict(tally.remade) or None,
            resumed=tally.resumed,
            levels=[
                tally.levels.get(level, LevelUsage()) for level in range(max(tally.levels, default=-1) + 1)
            ],
        )


def _slice(share: Share) -> Slice:
    return Slice(range=(share.first, share.stop), window=share.window, begin=share.begin, end=share.end)


def shard_parts(sizes: Sizes, shards: int, names: list[str]) -> list[Part]:
    """The parts of a vector, one per shard."""
    ranges = structure.shard_ranges(sizes.total, shards, sizes.block)
    return [Part(key=key, start=start, stop=stop) for key, (start, stop) in zip(names, ranges, strict=True)]


def frozen_part(prefix: str, ident: str, sizes: Sizes) -> list[Part]:
    """The object of the parameters without gradients, if the model has any; `ident` is version 0's."""
    part = Part(key=keys.frozen(prefix, ident), start=sizes.total, stop=sizes.with_frozen)
    return [part] if sizes.frozen else []


def written_by(request: RootRequest, reply: RootReply) -> dict[str, str]:
    """The SHA-256 of the objects that a call of the root wrote, by key."""
    told = {request.params_output: reply.params_sha256, request.optimizer_output: reply.optimizer_sha256}
    return {key: sha256 for key, sha256 in told.items() if sha256 is not None}


def objects_after(
    prefix: str, commit: Commit, ident: str, shards: int, *, has_state: bool
) -> tuple[list[Part], list[Part]]:
    """The parameter and optimiser objects of the version after `commit`; frozen parameters stay where they are."""
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
    frozen = [part for part in commit.params if part.start >= sizes.total]
    return [*params, *frozen], state if has_state else []
