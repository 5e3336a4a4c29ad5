"""Which models are served without torch. What asks this, such as the operator, loads neither torch nor numpy for it."""

from sapflow.spec.learning import ModelSpec

WITHOUT_TORCH = ("mlp",)
"""Built-in models that numpy computes."""


def needs_torch(model: ModelSpec) -> bool:
    """Whether torch is needed to compute a model."""
    return model.name not in WITHOUT_TORCH
