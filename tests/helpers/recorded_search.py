"""What a search has decided, and what came of it, as its log and its trials' commits in the store say."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.records.commits import Records
from sapflow.spec import tuning_document
from sapflow.tuning import entries
from sapflow.tuning.actions import Failed, Finished, Report, Stop
from sapflow.tuning.entries import Begin, End, Entry, Granted, Known, Sized, Train
from sapflow.tuning.log import Log
from sapflow.tuning.pool_sizes import PoolSizes
from sapflow.tuning.run import state_of
from sapflow.tuning.usage import Usage


@dataclass(frozen=True)
class RecordedSearch:
    """One search, read to its end."""

    decisions: list[dict[str, Any]]
    """What was suggested, trained, learnt and ended, in the order of the log."""
    trials: list[tuple[Any, ...]]
    """Of each trial its number, parameters, phase, units done, version, objectives and reason."""
    answers: Counter[tuple[int, int]]
    """How often each trial has answered that it has done so many units."""
    weights: dict[int, Any]
    """By trial, the SHA-256 of parameters and optimiser state of its last version."""
    granted: list[float]
    """Dollars that calls were allowed in all, as they rose."""
    dollars: float
    """What the trials have used, as they have told."""
    usage: list[Usage]
    """Calls in flight, as they were measured."""
    sizes: list[PoolSizes]
    """The states of the search for the workers' memory size."""


async def _recorded(store: Store, uid: str, document: Mapping[str, Any], *, ended: bool) -> RecordedSearch:
    prefix, job = keys.job(uid), tuning_document.parse(dict(document), "kubernetes")
    found: list[Entry] = await Log(store, prefix).read()
    state = await state_of(store, prefix, job)
    weights = {}
    for trial in state.trials:
        commit = await Records(store, keys.trial(prefix, trial.number)).last()
        if commit is None and not ended:
            continue
        assert commit is not None, f"trial {trial.number} has no version"
        assert commit.sha256 is not None
        weights[trial.number] = (commit.version, commit.sha256.model_dump())
    return RecordedSearch(
        [entries.body(each) for each in found if isinstance(each, Begin | Train | Known | Stop | End)],
        [
            (
                each.number, dict(each.parameters), each.phase, each.at, each.version, each.values, each.reason,
            )
            for each in state.trials
        ],
        Counter(
            (each.trial, each.at if isinstance(each, Report | Finished) else -1)
            for each in found
            if isinstance(each, Report | Finished | Failed)
        ),
        weights,
        [each.dollars for each in found if isinstance(each, Granted)],
        state.dollars,
        [each for each in found if isinstance(each, Usage)],
        [each.sizes for each in found if isinstance(each, Sized)],
    )  # fmt: skip


def recorded(store: Store, uid: str, document: Mapping[str, Any], *, ended: bool = True) -> RecordedSearch:
    """The search of this uid, whose document was applied; of one that has not `ended` trials may have no version yet.

    Raises CorruptObject, StoreError.
    """
    return asyncio.run(_recorded(store, uid, document, ended=ended))
