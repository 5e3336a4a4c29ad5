"""Searches as their logs tell them, for tests of the report: many trials, pruned by ASHA, without training any."""

import math
import random
from typing import Any

from helpers.searches import search_job
from sapflow.monitoring.tuning_report.facts import SearchFacts
from sapflow.tuning.actions import Failed, Finished, Report
from sapflow.tuning.entries import Begin, End, Entry, Train
from sapflow.tuning.settings import Limits, Settings
from sapflow.tuning.state import State
from sapflow.tuning.usage import Usage

RATE, HIDDEN = "spec.optimizer.learningRate", "spec.model.args.hidden"
OPTIMIZER, MOMENTUM = "spec.optimizer.name", "spec.optimizer.momentum"
HOSTILE = '</script><img src=x onerror="window.hostile=1">&lt;b&gt;%{x}'
CHOICES = [[16], [32, 16], HOSTILE]
PARAMETERS: list[dict[str, Any]] = [
    {"path": RATE, "float": {"min": 0.001, "max": 1.0, "log": True}},
    {"path": HIDDEN, "categorical": {"choices": CHOICES}},
    {"path": OPTIMIZER, "categorical": {"choices": ["Momentum", "AdamW"]}},
    {
        "path": MOMENTUM,
        "float": {"min": 0.0, "max": 0.98},
        "when": {"path": OPTIMIZER, "values": ["Momentum"]},
    },
]
BEGAN = 1_700_000_000.0


def quality(parameters: dict[str, Any]) -> float:
    """Between 0 and 1, by the learning rate alone: best at 0.1."""
    return 1.0 - abs(math.log10(parameters[RATE]) + 1) / 2.2


def entries_of(trials: int, *, ended: str | None = "Completed", objectives: int = 1) -> list[Entry]:
    """The log of a search with so many trials; every seventh fails, and one in a few goes on to 4 and 16 epochs.

    Each trial takes a second, with 6 of 8 calls in flight; in the middle no driver ran for an hour."""
    chance = random.Random(1)
    found: list[Entry] = [Usage(BEGAN, 0.0, 0.25, (), 0, 8), limits(trials)]
    for number in range(trials):
        pause = 3600.0 if number >= trials // 2 else 0.0
        found.append(Usage(BEGAN + pause + number + 1, 1.0, 0.25, (6.0,) * 4, 7, 8))
        parameters: dict[str, Any] = {
            RATE: 10 ** chance.uniform(-3, 0),
            HIDDEN: chance.choice(CHOICES),
            OPTIMIZER: chance.choice(["Momentum", "AdamW"]),
        }
        if parameters[OPTIMIZER] == "Momentum":
            parameters[MOMENTUM] = chance.uniform(0, 0.98)
        found += [Begin(number, parameters), Train(number, 1)]
        if number % 7 == 3:
            found.append(Failed(number, "NotFinite", "the loss is <b>nan</b>", 1.0, 0.01))
            continue
        good = quality(parameters)
        found.append(Report(number, 1, 10, {"accuracy": 0.6 * good}, 1.0, 0.01))
        for to, least in ((4, 0.7), (16, 0.9)):
            if good > least:
                found.append(Train(number, to))
                kind = Finished if to == 16 else Report
                values, dollars = {"accuracy": good * (0.8 if to == 4 else 1)}, 0.01 * to
                if kind is Finished:
                    found.append(Finished(number, values, to, 10 * to, float(to), dollars))
                else:
                    found.append(Report(number, to, 10 * to, values, float(to), dollars))
    if ended is not None:
        found.append(End(ended, f"{trials} of {trials} trials"))
    return found


def limits(trials: int) -> Limits:
    return Limits(4, trials, trials)


def facts_of(found: list[Entry], *, outcome: dict[str, Any] | None = None, **spec: Any) -> SearchFacts:
    """What a report is made from, of a search with this log."""
    fields: dict[str, Any] = {
        "parameters": PARAMETERS,
        "prune": {"name": "ASHA", "first": 1, "factor": 4},
        "maxTrials": 20_000,
        "parallelTrials": 4,
    }
    job = search_job(**(fields | spec))
    settings = Settings.of(job)
    facts = SearchFacts("search-1a2b3c4d", job, settings, State(settings))
    facts.take(found)
    facts.outcome = outcome
    return facts


def reported(trials: int, **spec: Any) -> SearchFacts:
    """A search that has ended with a result."""
    facts = facts_of(entries_of(trials), **spec)
    best = facts.ranked[0].number if facts.ranked else None
    facts.outcome = {"trial": best, "uri": "file:///there/model.safetensors", "sha256": "ab12"}
    return facts
