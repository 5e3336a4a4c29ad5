"""A job that goes on with another number of workers: where it stands then, and how long it will be. Pure.

What is left of the epoch is dealt to the new workers (`sapflow.data.dealing`). The learning-rate schedule gets a new
total. Its lengths in epochs keep the number of updates that they had, so that nothing in the past moves.
"""

from dataclasses import replace

from sapflow.data.cut import no_step
from sapflow.data.dealing import Deal, steps_per_epoch
from sapflow.errors import SpecError
from sapflow.planning.extent import Extent
from sapflow.records.commits import Commit, Cursor, Dealing, ScheduleLengths
from sapflow.spec.training_job import TrainingJob


class WorkersChanged(Exception):
    """Another driver has committed a version that is planned for another number of workers."""


def dealt_anew(commit: Commit, job: TrainingJob, samples: int, before: int) -> Commit:
    """`commit`, made by `before` workers, as those of `job` go on from it: with their cursor and schedule.

    `samples` is the number of training samples. Raises SpecError if the job cannot go on with other workers.
    """
    spec = job.spec
    if not spec.algorithm.facts.merged:
        raise SpecError(
            [("spec.workers", _fixed(before, "an asynchronous job counts what each rank has done"))]
        )
    if spec.affinity is not None:
        raise SpecError(
            [("spec.workers", _fixed(before, "the cells of a job with affinity are made for them"))]
        )
    if spec.merge.structure is not None and spec.merge.structure[-1] != spec.workers:
        why = f"ends at {spec.merge.structure[-1]} workers: a job that names its merge tree goes on with as many"
        raise SpecError([("spec.merge.structure", f"{why}; start a new job for another number")])
    each = spec.data.batch_size * spec.algorithm.facts.local_steps
    drop_last = bool(spec.data.drop_last)
    if steps_per_epoch(samples, spec.workers * each, drop_last=drop_last) < 1:
        raise SpecError([("spec.data.dropLast", no_step(spec.workers * each, samples))])
    cursor = _cursor(commit.cursor, job, samples, before)
    moved = commit.model_copy(update={"cursor": cursor})
    return moved.model_copy(update={"lengths": lengths_from(moved, job, samples, before)})


def lengths_from(commit: Commit, job: TrainingJob, samples: int, before: int) -> ScheduleLengths:
    """How long the job is whose workers go on from the commit's cursor, where nobody has dealt on from it yet.

    `before`: the workers whose updates an epoch of the schedule counts, unless the commit says it.
    """
    spec, cursor = job.spec, commit.cursor
    each, drop_last = spec.data.batch_size * spec.algorithm.facts.local_steps, bool(spec.data.drop_last)
    deal = Deal(samples, each, spec.workers, _pairs(cursor), drop_last=drop_last)
    extent = Extent.of(job, samples)
    dealt = deal.steps - deal.step_at(cursor.used)
    left = max(0, (spec.algorithm.steps or 0) - commit.version)
    if spec.algorithm.epochs is not None:
        left = max(0, dealt + (spec.algorithm.epochs - cursor.epoch - 1) * extent.steps_per_epoch)
    first = commit.lengths.epoch if commit.lengths else _updates_per_epoch(job, samples, before)
    updates = commit.updates + _updates(deal, dealt, extent, job, left)
    return ScheduleLengths(steps=commit.version + left, updates=updates, epoch=first)


def _updates(deal: Deal, dealt: int, extent: Extent, job: TrainingJob, steps: int) -> int:
    """The optimiser updates of so many steps, which begin with the last `dealt` ones of a deal."""
    local, batch = extent.facts.local_steps, job.spec.data.batch_size
    if steps < dealt:
        return steps * local
    largest = max(deal.count(rank, deal.steps - 1) for rank in range(deal.workers))
    rest = replace(extent, steps=steps - dealt).updates
    return (dealt - 1) * local + min(local, -(-largest // batch)) + rest


def _updates_per_epoch(job: TrainingJob, samples: int, workers: int) -> int:
    return Extent.of(job.with_workers(workers), samples).updates_per_epoch


def _cursor(cursor: Cursor, job: TrainingJob, samples: int, before: int) -> Cursor:
    """The cursor from which the job's workers go on."""
    spec, earlier = job.spec, list(cursor.dealings or ())
    each, drop_last = spec.data.batch_size * spec.algorithm.facts.local_steps, bool(spec.data.drop_last)
    steps = Deal(samples, each, before, _pairs(cursor), drop_last=drop_last).step_at(cursor.used)
    if steps:
        earlier.append(Dealing(workers=before, steps=steps))
    dealt = Cursor(epoch=cursor.epoch, used=cursor.used, dealings=earlier or None)
    if not Deal(samples, each, spec.workers, _pairs(dealt), drop_last=drop_last).steps:
        # With dropLast: what is left is less than one step of the new workers.
        return Cursor(epoch=cursor.epoch + 1)
    return dealt


def _pairs(cursor: Cursor) -> list[tuple[int, int]]:
    return [(one.workers, one.steps) for one in cursor.dealings or ()]


def _fixed(before: int, why: str) -> str:
    return f"must stay {before}: {why}; start a new job for another number"
