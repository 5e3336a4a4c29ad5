"""What a search in a store has come to: its trials, and the best of them."""

from sapflow.client.background import run_apart
from sapflow.errors import DataError, SpecError
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.spec.resolved_search import ResolvedSearch
from sapflow.spec.trial_names import TrialName
from sapflow.tuning.result import ranked
from sapflow.tuning.run import state_of
from sapflow.tuning.settings import Settings
from sapflow.tuning.spec_record import read_spec
from sapflow.tuning.trial import Trial


def trials_of(store: Store, search: ResolvedSearch) -> list[Trial]:
    """All trials of a search that have begun, by number, as its log tells them. Raises CorruptObject, StoreError."""
    return run_apart(state_of(store, search.prefix, search.job)).trials


def best_of(store: Store, search: ResolvedSearch) -> Trial:
    """The best trial so far, as the search's result counts it. Raises DataError if none has a value, and StoreError."""
    order = ranked(Settings.of(search.job), trials_of(store, search))
    if not order:
        raise DataError(
            f"no trial of {search.uid} has a value yet: wait for one, or name a trial by its number, as "
            f"{TrialName(search.uid, 0)}"
        )
    return order[0]


def trial_uid(store: Store, search: ResolvedSearch, number: int | None) -> str:
    """The uid of a trial, by its number or, with None, of the best one. Raises DataError, StoreError."""
    found = best_of(store, search).number if number is None else number
    return keys.uid_of(keys.trial(search.prefix, found))


def unknown_trial(store: Store, search: ResolvedSearch, number: int) -> DataError:
    """The error about a trial that has no object in the store."""
    begun = len(trials_of(store, search))
    name = TrialName(search.uid, number)
    if number < begun:
        return DataError(f"{name} has begun and has no version yet: wait for its first")
    last = f"its trials have the numbers 0 to {begun - 1}" if begun else "none has begun yet"
    return DataError(f"{search.uid} has no trial {number}: {last}")


def origin_uid(store: Store, named: TrialName, uid: str) -> str:
    """The uid of the trial that `spec.from` names, `uid` being its search's.

    Raises SpecError where the best trial of a search is named that the store has not or that has none, and StoreError.
    """
    if named.number is not None:
        return keys.uid_of(keys.trial(keys.job(uid), named.number))
    search = read_spec(store, uid)
    if search is None:
        where = store.url.partition("?")[0]
        raise SpecError(
            [("spec.from.job", f"is {str(named)!r}, and {where} holds no search {named.search!r}")]
        )
    try:
        return trial_uid(store, search, None)
    except DataError as error:
        raise SpecError([("spec.from.job", str(error))]) from error
