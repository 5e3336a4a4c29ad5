"""How much each parameter matters for a trial to be among the best: PED-ANOVA, by Optuna."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sapflow.monitoring.tuning_report.facts import SearchFacts
from sapflow.monitoring.tuning_report.packages import missing
from sapflow.tuning.actions import Parameters
from sapflow.tuning.settings import Objective
from sapflow.tuning.space import Space

LEAST = 10
"""The fewest trials that are enough."""
_TOP, _TOP_LEAST = 0.1, 5
"""The part of the trials that is called the best, and how many they are at least."""


@dataclass(frozen=True, slots=True)
class Importance:
    """Shares by parameter that sum to 1, the largest first, for one objective."""

    objective: str
    shares: Mapping[str, float]
    trials: int
    """Trials that it was computed from."""
    best: int
    """How many of them were called the best."""
    at: int | None
    """The length at which they are compared; None: each at its own end."""


def importance(facts: SearchFacts) -> list[Importance]:
    """For each objective; none where fewer than LEAST trials can be compared, or nothing differs between them.

    Trials are compared at one length, since longer ones are better for that alone: at the length that most of them have
    reached. Without pruning each is compared at its end. Copies of other trials, whose values do not follow from their
    own parameters alone, are left out. Raises DataError without Optuna.
    """
    at = None if facts.settings.prune.name == "None" else _usual_length(facts)
    trials = facts.trials
    known: dict[int, tuple[float, ...]] = {
        each.trial: each.values
        for each in facts.evaluated
        if (at is None or each.at == at) and trials[each.trial].origin is None
    }
    found = []
    for index, objective in enumerate(facts.settings.objectives):
        samples = [
            (trials[number].parameters, objective.score(values[index])) for number, values in known.items()
        ]
        finite = [(parameters, -score) for parameters, score in samples if math.isfinite(score)]
        if len(finite) >= LEAST and len({loss for _, loss in finite}) > 1:
            best = max(_TOP_LEAST, math.ceil(_TOP * len(finite)))
            shares = _shares(Space(facts.settings.parameters), finite, best / len(finite))
            if sum(shares.values()) > 0:
                found.append(_described(objective, shares, len(finite), best, at))
    return found


def _described(
    objective: Objective, shares: Mapping[str, float], trials: int, best: int, at: int | None
) -> Importance:
    total = sum(shares.values())
    order = sorted(shares, key=lambda path: -shares[path])
    return Importance(objective.metric, {path: shares[path] / total for path in order}, trials, best, at)


def _usual_length(facts: SearchFacts) -> int | None:
    """The length at which the most trials have a value, of several the longest; None without values."""
    counts = Counter(each.at for each in facts.evaluated)
    return max(counts, key=lambda at: (counts[at], at), default=None)


def _shares(space: Space, samples: Sequence[tuple[Parameters, float]], part: float) -> dict[str, float]:
    """Importance by parameter, of losses of which the least `part` is the best; not normalised."""
    try:
        import optuna
        from optuna.importance import PedAnovaImportanceEvaluator
        from optuna.samplers import RandomSampler
        from optuna.trial import create_trial
    except ModuleNotFoundError as error:
        raise missing(error) from error

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="minimize", sampler=RandomSampler(seed=0))
    for parameters, loss in samples:
        values = space.encoded(parameters)
        study.add_trial(create_trial(params=values, distributions=space.distributions(values), value=loss))
    found = PedAnovaImportanceEvaluator(target_quantile=part).evaluate(study)
    return {path: max(0.0, float(share)) for path, share in found.items()}
