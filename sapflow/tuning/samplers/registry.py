"""Makes the sampler that a search asks for."""

from sapflow.tuning.samplers.grid import GridSampler
from sapflow.tuning.samplers.remote import RemoteSampler
from sapflow.tuning.samplers.sampler import Sampler
from sapflow.tuning.settings import Settings
from sapflow.tuning.space import Space


def sampler_sought(settings: Settings) -> Sampler:
    """A sampler that knows nothing yet. Raises ModuleNotFoundError where it is Optuna's and the extra `tune` is
    missing."""
    if settings.sampler in ("GP", "Own"):
        return RemoteSampler(settings)
    space = Space(settings.parameters)
    if settings.sampler == "Grid":
        return GridSampler(space)
    from sapflow.tuning.samplers.by_optuna import OptunaSampler

    return OptunaSampler(
        space,
        settings.sampler,
        settings.seed,
        settings.objectives,
        settings.initial,
        pausing=settings.pausing,
    )
