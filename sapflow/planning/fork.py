"""A job that begins at a version of another one: what of it may differ from the other job, and where it stands. Pure.

Nothing differs for the job that was forked unchanged, so its versions have the bits of the other job's. Where data, or
what deals it to ranks, differs, the epoch of the version begins anew.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sapflow.algorithms.facts import Facts
from sapflow.errors import SpecError
from sapflow.messages.vectors import Sizes
from sapflow.planning.extent import Extent
from sapflow.planning.other_workers import dealt_anew, lengths_from
from sapflow.records import rank_states
from sapflow.records.commits import Commit, Cursor, Plan
from sapflow.records.plateau import PlateauState
from sapflow.spec.training_job import TrainingJob

Problems = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Parent:
    """The version at which a job begins, of the other job."""

    uid: str
    prefix: str
    job: TrainingJob
    first: Commit
    commit: Commit
    plan: Plan
    """The plan that the version names for the step after it."""

    @property
    def workers(self) -> int:
        return self.plan.workers


def problems(parent: Parent, job: TrainingJob, *, same_data: bool) -> Problems:
    """(field, what is wrong and what to do) for each field that a fork may not change, before its model is known."""
    asked, was = job.spec.algorithm.facts, parent.job.spec.algorithm.facts
    found: Problems = []
    if asked.name != was.name or _state(asked) != _state(was):
        found.append(
            (
                "spec.algorithm",
                f"must keep mode, localState, and local steps of {parent.uid}, or their absence: the state that its "
                "version has is of another kind",
            )
        )
    name, before = job.spec.optimizer.name, parent.job.spec.optimizer.name
    if any(_state(was)) and name != before:
        found.append(
            (
                "spec.optimizer.name",
                f"must stay {before}: the version has its state; change its numbers, or leave it",
            )
        )
    if asked.counts_ranks and (job.spec.workers != parent.workers):
        found.append(
            (
                "spec.workers",
                f"must stay {parent.workers}: an asynchronous job counts what each rank has done",
            )
        )
    if asked.counts_ranks and not (same_data and _deals_alike(parent.job, job)):
        found.append(
            (
                "spec.data",
                "must stay with its batchSize and the seed: an asynchronous job counts what each rank has done",
            )
        )
    return found


def model_problems(
    parent: Parent, sizes: Sizes, slots: Sequence[str], layout: Sequence[Mapping[str, Any]]
) -> Problems:
    """The same for the fork's own model, as a worker describes it."""
    was = parent.first.layout
    if list(layout) != was:
        differing = next((each for each in layout if each not in was), None)
        shown = (
            "" if differing is None else f", as {differing.get('name')} {list(differing.get('shape', []))}"
        )
        return [
            (
                "spec.model",
                f"has other parameters than version {parent.commit.version} of {parent.uid}{shown}: a fork keeps "
                "names, shapes and types of all of them; leave the model as it was, or start from an export by "
                "spec.model.weights and weightsMatch",
            )
        ]
    stands = parent.job.spec.algorithm.facts
    if any(_state(stands)) and list(slots) != parent.first.slots:
        return [
            (
                "spec.optimizer",
                f"keeps the vectors {list(slots)}, and the version has {parent.first.slots}: leave what decides it "
                "(momentum, centered) as it was",
            )
        ]
    if sizes.model_copy(update={"block": parent.commit.sizes.block}) != parent.commit.sizes:
        return [("spec.model", f"is laid out otherwise than that of {parent.uid}: leave it as it was")]
    return []


def start(parent: Parent, job: TrainingJob, samples: int, *, same_data: bool) -> Commit:
    """The parent's commit as the fork goes on from it: its cursor, its schedule, its ranks' states.

    `samples`: of the fork's training data. Raises SpecError with all fields that a fork may not change.
    """
    found = problems(parent, job, same_data=same_data)
    if found:
        raise SpecError(found)
    commit = parent.commit
    if not same_data or not _deals_alike(parent.job, job):
        anew = commit.model_copy(update={"cursor": Cursor(epoch=commit.cursor.epoch), "lengths": None})
        begun = anew.model_copy(update={"lengths": lengths_from(anew, job, samples, job.spec.workers)})
    elif job.spec.workers != parent.workers:
        begun = dealt_anew(commit, _anywhere(job), samples, parent.workers)
    elif commit.lengths is not None and _length(job) != _length(parent.job):
        begun = commit.model_copy(update={"lengths": lengths_from(commit, job, samples, parent.workers)})
    else:
        begun = commit
    _check_left(parent, begun, job, samples)
    states = None if begun.states is None else rank_states.below(begun.states, job.spec.workers)
    return begun.model_copy(update={"plateau": _plateau(begun, job), "states": states})


def same_plan(parent: Parent, job: TrainingJob) -> bool:
    """Whether the fork merges as the other job did: what decides about that is as it was."""
    was, asked = parent.job.spec, job.spec
    return job.spec.workers == parent.workers and (was.merge, was.affinity, was.placement) == (
        asked.merge,
        asked.affinity,
        asked.placement,
    )


def _state(facts: Facts) -> tuple[bool, bool, bool]:
    """Which optimiser state lasts from version to version: the root's, the averaged one, the ranks' own."""
    return facts.root_state, facts.averaged_state, facts.rank_state


def _deals_alike(one: TrainingJob, other: TrainingJob) -> bool:
    def dealing(job: TrainingJob) -> tuple[object, ...]:
        spec = job.spec
        return (
            spec.data.batch_size, spec.algorithm.facts.local_steps, bool(spec.data.drop_last),
            spec.data.partition or "Epoch", spec.algorithm.seed,
        )  # fmt: skip

    return dealing(one) == dealing(other)


def _anywhere(job: TrainingJob) -> TrainingJob:
    """The job without cells: a fork's are its own."""
    return job.model_copy(update={"spec": job.spec.model_copy(update={"affinity": None})})


def _length(job: TrainingJob) -> tuple[int | None, int | None]:
    return job.spec.algorithm.steps, job.spec.algorithm.epochs


def _check_left(parent: Parent, begun: Commit, job: TrainingJob, samples: int) -> None:
    """Raise SpecError unless the fork has a step left."""
    algorithm = job.spec.algorithm
    if algorithm.facts.counts_ranks:
        ended = Extent.of(job, samples).done(begun) >= Extent.of(job, samples).total
    elif algorithm.steps is not None:
        ended = begun.version >= algorithm.steps
    else:
        ended = begun.cursor.epoch >= int(algorithm.epochs or 0)
    if ended:
        field, given = (
            ("steps", algorithm.steps) if algorithm.steps is not None else ("epochs", algorithm.epochs)
        )
        raise SpecError(
            [
                (
                    f"spec.algorithm.{field}",
                    f"leaves no step: {given} counts from the beginning of {parent.uid}, and version {begun.version} "
                    f"stands in epoch {begun.cursor.epoch}; raise it, or fork an earlier version",
                )
            ]
        )


def _plateau(commit: Commit, job: TrainingJob) -> PlateauState | None:
    if job.spec.optimizer.schedule.name != "Plateau":
        return None
    return commit.plateau or PlateauState()
