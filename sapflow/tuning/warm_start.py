"""What a search knows from the start: the results of an earlier one, which `spec.warmStartFrom` names."""

import asyncio

from sapflow.errors import SpecError
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.spec.parameter_values import fits
from sapflow.spec.resolved_search import ResolvedSearch
from sapflow.spec.tuning_job import TuningJob
from sapflow.tuning.run import state_of
from sapflow.tuning.search import Results
from sapflow.tuning.spec_record import read_spec

FIELD = "spec.warmStartFrom"


async def warm_results(store: Store, search: ResolvedSearch, uid: str) -> Results:
    """Parameters and objectives of the finished trials of the search `uid` of the same store; none once `search` has
    begun: what it knew then is in its own log, and the earlier one may go. A trial with
    values that the parameters of `search` cannot have is left out.

    Raises SpecError if there is no such search, or it has other objectives, and StoreError.
    """
    if await asyncio.to_thread(store.exists, keys.search_record(search.prefix, 0)):
        return ()
    found = await asyncio.to_thread(read_spec, store, uid)
    name = search.job.spec.warm_start_from
    if found is None:
        where = store.url.partition("?")[0]
        raise SpecError([(FIELD, f"is {name!r}, and {where} holds no such search: name one of this store")])
    if (sought := _objectives(found.job)) != _objectives(search.job):
        said = " and ".join(f"{metric} ({direction})" for metric, direction in sought)
        raise SpecError(
            [(FIELD, f"is {name!r}, which has other objectives, {said}: name a search with the same ones")]
        )
    by_path = {each.path: each for each in search.job.spec.parameters}
    return [
        (trial.parameters, trial.values)
        for trial in (await state_of(store, found.prefix, found.job)).trials
        if trial.phase == "Finished"
        and trial.values
        and all(path in by_path and fits(by_path[path], value) for path, value in trial.parameters.items())
    ]


def _objectives(job: TuningJob) -> list[tuple[str, str]]:
    return [(each.metric, each.direction) for each in job.spec.objectives]
