"""Finds jobs, and trials of searches, in a store by their names."""

from collections.abc import Mapping

from sapflow.client.session import DEFAULT_STORE, Session, absolute, find_session, uid_named
from sapflow.client.tuning import find_tuning
from sapflow.errors import DataError, SapflowError
from sapflow.spec.trial_names import TrialName, trial_named


def find(name: str, environ: Mapping[str, str], *, store: str | None = None) -> Session:
    """The session of a job or of a trial (`SEARCH/trials/7`, `SEARCH/trials/best`) in a store, for reading.

    In a directory a job or a search may also be called as `uid_named` has it. Raises DataError if the store has none of
    this name, or several, and StoreError.
    """
    named = trial_named(name)
    if named is not None:
        return find_trial(named, environ, store=store)
    if "/trials/" in name:
        raise DataError(
            f"{name!r} names no trial: name one by its number, as SEARCH/trials/7, or SEARCH/trials/best"
        )
    return find_session(name, environ, store=store)


def find_trial(named: TrialName, environ: Mapping[str, str], *, store: str | None = None) -> Session:
    """The session of a search's trial. Raises DataError if there is no such search or trial, and StoreError."""
    uid = uid_named(named.search, store)
    search = find_tuning(uid, environ, store=store)
    if search is None:
        url = absolute(store or DEFAULT_STORE)
        raise DataError(
            f"{url} holds no search {named.search!r}; `sapflow status` lists what a directory has"
        )
    try:
        return search.trial(named.number)
    except SapflowError:
        search.store.close()
        raise
