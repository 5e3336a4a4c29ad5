"""Makes the pruner that a search asks for."""

from sapflow.tuning.pruners.asha import Asha
from sapflow.tuning.pruners.hyperband import Hyperband
from sapflow.tuning.pruners.median import Median
from sapflow.tuning.pruners.none import NoPruner
from sapflow.tuning.pruners.pbt import Pbt
from sapflow.tuning.pruners.pruner import Pruner
from sapflow.tuning.settings import Settings


def pruner_of(settings: Settings) -> Pruner:
    """A pruner that knows nothing yet."""
    prune, length = settings.prune, settings.length
    first = prune.first or 1
    interval = prune.interval or first
    match prune.name:
        case "None":
            return NoPruner()
        case "Median":
            return Median(first, interval, prune.startup_trials or 5, length)
        case "ASHA":
            return Asha(first, prune.factor or 4, length)
        case "Hyperband":
            return Hyperband(first, prune.factor or 3, length)
        case "PBT":
            return Pbt(settings.parameters, settings.seed, first, interval, prune.quantile or 0.25, length)
