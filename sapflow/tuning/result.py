"""The result of a search: the model of its best trial, and the outcome record, which says what led to it."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from sapflow.driver import preparation_forecast
from sapflow.driver.model_files import ModelFiles
from sapflow.driver.result import export_request
from sapflow.errors import CorruptObject, JobFailed
from sapflow.messages.documents import Document
from sapflow.messages.replies import ExportReply
from sapflow.objects import keys
from sapflow.records.commits import Records, plain_json
from sapflow.records.evaluations import held_out, metrics_of
from sapflow.spec.source_code import fingerprint
from sapflow.tuning.entries import End
from sapflow.tuning.search import Search
from sapflow.tuning.settings import Settings
from sapflow.tuning.trial import Trial
from sapflow.tuning.trials import Trials

TOP = 10
"""Trials that the record names."""
_FAILURES = ("SamplerFailed", "TooManyFailed")
"""Ends of a search that has failed, whatever it had found until then."""


def ranked(settings: Settings, trials: Sequence[Trial]) -> list[Trial]:
    """The trials that have a version whose objective is known, the best first; of equal ones the one that began first.

    A trial counts by that version, which is its newest: an earlier one may have been better, and its model is gone.
    """
    first = settings.objectives[0]
    found = [
        trial
        for trial in trials
        if trial.phase in ("Finished", "Paused", "Running")
        and trial.values
        and first.score(trial.values[0]) > float("-inf")
    ]
    return sorted(found, key=lambda trial: (-first.score(trial.values[0]), trial.number))


def front(settings: Settings, trials: Sequence[Trial]) -> list[Trial]:
    """Of `ranked`, in that order, the trials that no other one beats in every objective."""

    def scores(trial: Trial) -> list[float]:
        pairs = zip(settings.objectives, trial.values, strict=True)
        return [objective.score(value) for objective, value in pairs]

    found: list[Trial] = []
    best = float("-inf")
    for trial in ranked(settings, trials):
        # The order is by the first objective, so only one that is better in the second is beaten by nobody.
        second = scores(trial)[-1]
        if second > best:
            found.append(trial)
            best = second
    return found


async def write(
    settings: Settings,
    search: Search,
    trials: Trials,
    end: End,
    settled: Callable[[], Awaitable[None]],
    forecast: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Export the model of the best trial, and write the outcome of a search that has ended, in place of one of before
    its limits were raised. What now stands. `settled` notes what the export has cost. `forecast` is what was
    forecast, with its grade.

    Raises JobFailed if the search has found nothing or was ended by failures, and StoreError.
    """
    order = ranked(settings, search.trials)
    if end.reason in _FAILURES or not order:
        nothing = "" if order else "; no trial has come to a result"
        raise JobFailed(f"{end.message}{nothing}", reason=end.reason, version=-1)
    pool, best = trials.pool, order[0]
    records, key = Records(pool.store, pool.prefix), keys.result(pool.prefix, "outcome.json")
    standing = await records.read(key)
    if standing is not None and (standing.get("trial"), standing.get("version")) == (
        best.number,
        best.version,
    ):
        model = {name: standing[name] for name in ("uri", "sha256")}
    else:
        # In this order an interruption leaves a search that has ended and has no result yet.
        await asyncio.to_thread(pool.store.delete, [key])
        old = [keys.result(pool.prefix, name) for name in ("model.safetensors", keys.GOLDEN_ROWS)]
        await asyncio.to_thread(pool.store.delete, old)
        try:
            model = await _export(trials, best)
        finally:
            await settled()
    outcome = {**plain_json(await _body(settings, search, trials, end, order)), **model}
    if forecast is not None:
        outcome["forecast"] = plain_json(forecast)
    if (prepared := await preparation_forecast.recorded(records)) is not None:
        outcome["preparation"] = plain_json(prepared)
    # A grade is given once: each later run takes some time, and finds the search as it was.
    if standing is not None and _without_grade(standing) == _without_grade(outcome):
        return dict(standing)
    await asyncio.to_thread(pool.store.delete, [key])
    if not await records.write(key, outcome, durable=True):
        outcome = await records.read(key) or outcome
    return outcome


def _without_grade(outcome: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in outcome.items() if name != "forecast"}


async def _body(
    settings: Settings, search: Search, trials: Trials, end: End, order: Sequence[Trial]
) -> dict[str, Any]:
    """The outcome without its model."""
    body: dict[str, Any] = {
        **_described(order[0]),
        **held_out(await _metrics(trials, order[0])),
        "endedBy": end.reason,
        "trials": {"begun": len(search.trials), **Counter(trial.phase.lower() for trial in search.trials)},
        "account": {
            "seconds": sum(trial.seconds for trial in search.trials),
            # Of trials that were interrupted only the budget knows what they have used.
            "costUSD": max(search.state.used, search.state.granted),
        },
        "top": [_described(each) for each in order[:TOP]],
    }
    if len(settings.objectives) > 1:
        body["front"] = [_described(each) for each in front(settings, search.trials)]
    return body


def _described(trial: Trial) -> dict[str, Any]:
    named = {"trial": trial.number, "version": trial.version, "parameters": dict(trial.parameters)}
    if len(trial.values) > 1:
        named["secondObjective"] = trial.values[1]
    return named | {"objective": trial.values[0], "costUSD": trial.dollars, "seconds": trial.seconds}


async def _metrics(trials: Trials, trial: Trial) -> dict[str, float]:
    """All metrics of a trial's version on the held-out samples."""
    prefix = keys.trial(trials.pool.prefix, trial.number)
    record = await Records(trials.pool.store, prefix).read(keys.evaluation(prefix, trial.version))
    return {} if record is None else metrics_of(record)


async def _export(trials: Trials, best: Trial) -> dict[str, str]:
    """Write the model of a trial's version as the search's; where it is, and its SHA-256."""
    pool = trials.pool
    job = trials.job_of(best.parameters)
    resolved = trials.resolved(best.number, job)
    records = Records(pool.store, resolved.prefix)
    first, commit = await records.commit(0), await records.commit(best.version)
    if first is None or commit is None:
        raise CorruptObject(f"trial {best.number} of {keys.uid_of(pool.prefix)} has lost its commits")
    output = keys.result(pool.prefix, "model.safetensors")
    request = export_request(resolved.uid, job, pool.manifest, first, commit, output)
    caller = trials.common_caller(best.number)
    reply = await caller.call("merger", request, ExportReply)
    files = ModelFiles(pool.store, pool.manifest, resolved.data_prefix, pool.prefix)
    await files.copy_preparation()
    documents = [
        Document.of(key, bytes(await asyncio.to_thread(pool.store.read, key)))
        for key in (keys.spec(resolved.prefix), keys.manifest(resolved.data_prefix))
    ]
    code = fingerprint(first.code or {})
    named = (documents[0], documents[1])
    await files.keep_golden_rows(caller, resolved.uid, commit, named, code, request.metadata, reply.sha256)
    return {"uri": f"{pool.store.url.partition('?')[0].rstrip('/')}/{output}", "sha256": reply.sha256}
