"""The budget of a search: what calls have cost and may still cost. It never promises more than there is."""

from dataclasses import dataclass

_EPSILON = 1e-9
"""Dollars below which two sums are the same: they are added in another order after a restart."""


@dataclass(slots=True)
class Budget:
    """Dollars. `limit` None: as many as are wanted. What is not finished is counted by its worst price."""

    limit: float | None
    used: float = 0.0
    reserved: float = 0.0
    granted: float = 0.0
    """What the log says that calls may cost in all: a driver that dies may have used so much."""
    kept: float = 0.0
    """What is set aside from the start for the call that comes last, which exports the model."""

    @property
    def left(self) -> float | None:
        """Dollars that are neither used nor set aside; None without a limit."""
        return None if self.limit is None else max(0.0, self.limit - self.used - self.reserved - self.kept)

    def fits(self, worst: float) -> bool:
        """Whether a call with this worst price may start now."""
        return self.limit is None or self.used + self.reserved + self.kept + worst <= self.limit + _EPSILON

    def ever_fits(self, worst: float) -> bool:
        """Whether it may start once all calls in flight have cost nothing."""
        return self.limit is None or self.used + self.kept + worst <= self.limit + _EPSILON

    def reserve(self, worst: float) -> None:
        """Set aside the worst price of a call. Raises ValueError if it does not fit."""
        if not self.fits(worst):
            raise ValueError(f"{worst:g} dollars are not left of {self.limit:g}")
        self.reserved += worst

    def settle(self, worst: float, cost: float) -> None:
        """A call has ended, and cost so much of what was set aside for it."""
        self.reserved = max(0.0, self.reserved - worst)
        self.used += cost

    def grant(self, worst: float) -> float | None:
        """What must be granted before a call with this worst price starts; None if enough is.

        Grants grow by a fiftieth of the budget at least, so that few are written, and never above it, nor into what is
        kept: a driver that dies may have used all of them.
        """
        wanted = self.used + self.reserved + worst
        if self.limit is None or wanted <= self.granted + _EPSILON:
            return None
        return max(wanted, min(self.limit - self.kept, self.granted + self.limit / 50))
