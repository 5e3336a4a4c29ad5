"""What `sapflow status` says of a trial beside what it says of any job: what its search knows of it."""

from collections.abc import Mapping
from typing import Any

from sapflow.client import trials
from sapflow.client.session import Session
from sapflow.monitoring.tuning_display import in_short, value_text
from sapflow.spec.trial_names import trial_named
from sapflow.tuning.spec_record import read_spec
from sapflow.tuning.trial import Phase

_STATES: Mapping[Phase, str] = {
    "Paused": "Paused",
    "Running": "Unfinished",
    "Stopping": "Stopped",
    "Stopped": "Stopped",
    "Finished": "Succeeded",
    "Failed": "Failed",
}


def describe(session: Session, state: str) -> dict[str, Any]:
    """The trial's state as its search has it, parameters and objective, as a part of a JSON value; nothing for a job.

    `state` is what its own records say. Raises CorruptObject, StoreError.
    """
    named = trial_named(session.uid)
    search = None if named is None else read_spec(session.store, named.search)
    if named is None or named.number is None or search is None:
        return {}
    known = trials.trials_of(session.store, search)
    if named.number >= len(known):
        return {}
    trial = known[named.number]
    facts = {
        "number": trial.number,
        "parameters": dict(trial.parameters),
        "metric": search.job.spec.objective.metric,
        "objective": trial.values[0] if trial.values else None,
        "reason": trial.reason or None,
        "message": trial.message or None,
    }
    found = {name: value for name, value in facts.items() if value is not None}
    return {"state": state if trial.phase == "Finished" else _STATES[trial.phase], "trial": found}


def lines(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The same as pairs of a label and a text."""
    trial = body.get("trial")
    if trial is None:
        return []
    found = [("parameters", in_short(trial["parameters"]))]
    if "objective" in trial:
        metric = trial["metric"]
        found.insert(0, ("objective", f"{metric} {value_text(metric, trial['objective'])}"))
    if "reason" in trial:
        found.append(("ended by", ": ".join(trial[name] for name in ("reason", "message") if name in trial)))
    return found
