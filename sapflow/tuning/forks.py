"""Lets a trial begin at a version of another trial of its search, whose objects it names and does not copy.

A job of its own copies what it begins with, because the other job may be deleted. Trials are deleted together, and the
search says which versions stay.
"""

import asyncio

from sapflow.errors import CorruptObject, SpecError
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.planning import fork
from sapflow.planning.fork import Parent
from sapflow.records import rank_states
from sapflow.records.commits import Account, Commit, Measured, Origin, Records
from sapflow.spec import resolved as resolved_document
from sapflow.spec.resolved import ResolvedJob


async def begin(store: Store, trial: ResolvedJob, source: str, version: int, samples: int) -> None:
    """Write the first version of a trial: `version` of the trial whose keys begin with `source`, as it stands.

    It is done once however often it is asked for. Raises SpecError where the trial's job cannot begin there, and
    StoreError.
    """
    own = Records(store, trial.prefix)
    if await own.commit(0) is not None:
        return
    parent = await _parent(store, source, version)
    if found := fork.problems(parent, trial.job, same_data=True):
        raise SpecError(found)
    if not fork.same_plan(parent, trial.job):
        raise SpecError(
            [
                (
                    "spec.merge",
                    "must stay, and spec.workers: a trial that goes on with another's weights merges as it did",
                )
            ]
        )
    begun = fork.start(parent, trial.job, samples, same_data=True)
    await _copy_states(store, begun, source, trial.prefix)
    plan, ident = parent.plan, keys.step_id(parent.commit.digest, parent.plan.name, ["fork"])
    await own.write(keys.plan(trial.prefix, plan.name), plan.body(), durable=True)
    fields = {
        "id": ident, "previous": parent.commit.digest, "plan": plan.name, "applied": [], "skipped": False,
        "dealt": None, "judged": None, "kept": [], "account": Account(), "measured": Measured(), "forecast": None,
    }  # fmt: skip
    await own.settle(begun.model_copy(update=fields))
    # Commit 0 is written last: without it the trial has not begun.
    await own.settle(_commit_0(parent, plan.name, ident))


async def _parent(store: Store, source: str, version: int) -> Parent:
    records = Records(store, source)
    first, commit = await records.commit(0), await records.commit(version)
    document = await records.read(keys.spec(source))
    if first is None or commit is None or document is None:
        raise CorruptObject(
            f"{keys.uid_of(source)} has lost version {version}, which another trial is to begin at"
        )
    job = resolved_document.read(document, source).job
    return Parent(keys.uid_of(source), source, job, first, commit, await records.plan(commit.plan))


def _commit_0(parent: Parent, plan: str, ident: str) -> Commit:
    """What the whole trial has in common with its source, and no objects."""
    origin = Origin(job=parent.uid, version=parent.commit.version, commit=parent.commit.digest)
    fields = {
        "version": 0, "id": ident, "previous": "", "plan": plan, "params": [], "optimizer": [], "states": None,
        "sha256": None, "origin": origin, "account": Account(), "measured": Measured(), "forecast": None,
    }  # fmt: skip
    return parent.first.model_copy(update=fields)


async def _copy_states(store: Store, begun: Commit, source: str, prefix: str) -> None:
    """Copy the ranks' own states, which a commit names below its own job's prefix."""
    found = rank_states.all_keys(begun.states, source)
    for there, here in zip(found, rank_states.all_keys(begun.states, prefix), strict=True):
        content = await asyncio.to_thread(store.read, there)
        await asyncio.to_thread(store.create, here, content, durable=True)
