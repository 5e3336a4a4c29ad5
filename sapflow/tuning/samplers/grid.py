"""Tries every point of the grid once, in order."""

from sapflow.tuning.samplers.sampler import Sampler, Suggestion
from sapflow.tuning.space import Space


class GridSampler(Sampler):
    """Trial k has the k-th point; the last parameter changes first."""

    def __init__(self, space: Space) -> None:
        self._points = space.points()

    def ask(self, number: int) -> Suggestion:
        return Suggestion(self._points[number % len(self._points)], {})
