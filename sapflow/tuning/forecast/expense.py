"""What work takes: seconds, dollars, and how long it occupies functions and the driver. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Expense:
    """What a piece of work takes where nothing else runs."""

    seconds: float = 0.0
    """From its beginning to its end."""
    dollars: float = 0.0
    calls: float = 0.0
    """Seconds in functions, summed over its calls."""
    driver: float = 0.0
    """CPU seconds of the driver's process."""

    def __add__(self, other: "Expense") -> "Expense":
        return Expense(
            self.seconds + other.seconds,
            self.dollars + other.dollars,
            self.calls + other.calls,
            self.driver + other.driver,
        )

    def __sub__(self, other: "Expense") -> "Expense":
        """The difference, in which nothing is below zero: what is measured may be a little more one time than the
        next."""
        return Expense(
            max(0.0, self.seconds - other.seconds),
            max(0.0, self.dollars - other.dollars),
            max(0.0, self.calls - other.calls),
            max(0.0, self.driver - other.driver),
        )

    def times(self, factor: float) -> "Expense":
        return Expense(
            factor * self.seconds, factor * self.dollars, factor * self.calls, factor * self.driver
        )

    def between(self, other: "Expense", share: float) -> "Expense":
        """The usage that is so far on the way from this one to the other."""
        return self.times(1 - share) + other.times(share)

    @classmethod
    def mean(cls, *some: "Expense") -> "Expense":
        return sum(some, Expense()).times(1 / len(some))


@dataclass(frozen=True, slots=True)
class TrialCost:
    """What a trial takes, part by part. Lengths are in the search's units: epochs, or steps."""

    step: Expense
    """A warm step."""
    begin: Expense = Expense()
    """Its first version, and what the first step takes beyond a warm one."""
    resume: Expense = Expense()
    """The same of a trial that goes on after a pause."""
    pause: Expense = Expense()
    """The evaluation at the end of each advance, and what the driver notes there."""
    evaluation: Expense = Expense()
    """An evaluation on the way, beside which steps go on."""
    steps_per_unit: float = 1.0
    evaluations_per_unit: float = 0.0
    length: int = 1
    """Units of the whole trial."""
    at_once: bool = False
    """Whether it goes to its end at once, because it cannot pause (asynchronous algorithms)."""

    def advance(self, at: int, to: int) -> Expense:
        """What it takes to train from `at` units to `to`."""
        beginning = self.resume if at else self.begin
        units = to - at
        beside = self.evaluation.times(units * self.evaluations_per_unit)
        return beginning + self.step.times(units * self.steps_per_unit) + self.pause + beside

    @property
    def complete(self) -> Expense:
        """What the whole trial takes, without a pause."""
        return self.advance(0, self.length)
