"""The running time of a search: the time in which a driver ran, one driver after the other, with its calls in flight.
Pure."""

from dataclasses import dataclass, field

from sapflow.tuning.usage import Usage

GAP = 2.0
"""Seconds between two measurements above which no driver ran, or none noted what it did."""


@dataclass(frozen=True, slots=True)
class Span:
    """Calls in flight over a part of the running time, in seconds from its beginning."""

    begin: float
    end: float
    calls: float
    """Their mean."""
    peak: int
    most: int
    """`maxWorkers` then."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Where nothing was noted: the running time at which it lies, and how long it was by the clock, in seconds."""

    at: float
    seconds: float


@dataclass
class ActiveTime:
    """Takes in the measurements of a search's log, in their order."""

    seconds: float = 0.0
    """Of running time, so far."""
    spans: list[Span] = field(default_factory=list)
    pauses: list[Pause] = field(default_factory=list)
    began: float | None = None
    """Seconds since 1970, when the first driver began; None where the log has no times."""
    _ended: float | None = None

    def take(self, usage: Usage) -> None:
        """Take in the next measurement."""
        begins = usage.ends - usage.seconds
        if self.began is None:
            self.began = begins
        if self._ended is not None and begins - self._ended > GAP:
            self.pauses.append(Pause(self.seconds, begins - self._ended))
        self._ended = usage.ends
        begin = self.seconds
        for index, calls in enumerate(usage.calls):
            first = begin + index * usage.every
            last = min(first + usage.every, begin + usage.seconds)
            if last > first:
                self.spans.append(Span(first, last, calls, usage.peak, usage.most))
        self.seconds = begin + usage.seconds

    @property
    def known(self) -> bool:
        """Whether the log has times; it has none where an earlier release ran the search."""
        return self.began is not None

    @property
    def share_in_use(self) -> float | None:
        """Mean calls in flight by `maxWorkers`, over the running time; None where it is not known."""
        room = sum((span.end - span.begin) * span.most for span in self.spans)
        if not room:
            return None
        return sum((span.end - span.begin) * span.calls for span in self.spans) / room

    def merged(self, most: int) -> list[Span]:
        """The spans, at most `most` and those at pauses: neighbours that are short are one, with their mean."""
        if len(self.spans) <= most:
            return list(self.spans)
        width, borders = self.seconds / most, {pause.at for pause in self.pauses}
        found: list[Span] = []
        for span in self.spans:
            last = found[-1] if found else None
            if (
                last is None
                or span.end - last.begin > width * 1.001
                or span.begin in borders
                or span.most != last.most
            ):
                found.append(span)
                continue
            one, two = last.end - last.begin, span.end - span.begin
            mean = (last.calls * one + span.calls * two) / (one + two)
            found[-1] = Span(last.begin, span.end, mean, max(last.peak, span.peak), span.most)
        return found
