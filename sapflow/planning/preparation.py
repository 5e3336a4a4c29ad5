"""What the preparation of a whole source takes, by that of its first partitions: seconds and dollars. Pure.

Each kind of call is taken from the rehearsal: what it takes a partition, how often it is made, what it moves. A pass of
N partitions by K functions takes N/K partitions' time, and its last calls end one after the other. What is not known is
drawn: which of the rehearsed partitions the others are like, whether medians need another pass, and how much slower all
is than it was rehearsed.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from pydantic import Field

from sapflow.messages.message import Message
from sapflow.planning.constants import Constants
from sapflow.planning.spread import Spread
from sapflow.quantities.prices import Price, cost

DRAWS = 200


@dataclass(frozen=True, slots=True)
class Shares:
    """Of the seconds that it takes to parse a partition, what a pass over its columns takes, and what the writing of
    its blocks does, where neither is measured yet."""

    count: float
    write: float


OF_TABLES, OF_CONTENT = Shares(0.1, 0.25), Shares(1.5, 2.0)
"""Measured on tables of 60,000 to 200,000 rows (0.07 to 0.16, and 0.16 to 0.34), and on bags of words and images (1.4
to 1.9, and 1.3 to 2.9), which passes split or decode anew."""
UNMEASURED = 0.4
"""Standard deviation, as a logarithm, of how much slower a preparation is that is forecast from its parsing alone."""
UNCERTAINTY = 0.2
"""Standard deviation, as a logarithm, of how much slower a preparation is than its rehearsal."""
LEAST_SHARE = 0.2
"""Of a call's seconds at least so much is no store's, wherever it was rehearsed."""
_OVER_PARTITIONS = ("scan", "parse", "count", "write")


@dataclass(frozen=True, slots=True)
class RehearsedCall:
    """One call of a rehearsal."""

    seconds: float
    read: int = 0
    """Bytes from the store."""
    written: int = 0


@dataclass(frozen=True, slots=True)
class RehearsedPreparation:
    """What the preparation of a source's beginning took, each call of one partition and one after the other."""

    files: int
    bytes: int
    """Of all files of the source."""
    partitions: int
    """Of the source."""
    rehearsed: int
    bytes_rehearsed: int
    """Of the source in the rehearsed partitions; 0 where its format does not say."""
    to_scan: int
    """Partitions of the source that are scanned."""
    calls: Mapping[str, Sequence[RehearsedCall]]
    """By operation."""
    start_seconds: float = 0.0
    """Until a function was ready."""
    seconds: float = 0.0
    dollars: float = 0.0
    indexed_files: int = 0
    """Packed files, whose seek points are found before partitions are known: the number of these is an estimate."""
    largest_share: float = 0.0
    """Of the largest of them among all bytes of the source."""
    indexed_partitions: float = 0.0
    """The partitions up to which seek points were found in the rehearsal."""
    uncertainty: float = UNCERTAINTY
    """Standard deviation, as a logarithm, of how much slower all is than this tells."""

    @property
    def passes(self) -> int:
        """Those that count parsed rows, the one that counts samples among them."""
        return max(1, len(self.calls.get("count", ())) // max(1, self.rehearsed))

    @property
    def size(self) -> float:
        """The source, in partitions as large as the rehearsed ones."""
        if self.partitions <= self.rehearsed or not self.bytes_rehearsed:
            return float(self.partitions)
        return max(self.rehearsed, self.bytes / (self.bytes_rehearsed / self.rehearsed))


@dataclass(frozen=True, slots=True)
class PreparationPlace:
    """Where the source is to be prepared, and by how many functions at once."""

    here: Constants
    """Of the place of the rehearsal."""
    there: Constants
    at_once: int
    price: Price
    memory: int
    """Bytes of a preparer."""
    cpus: float | None
    calls_each: int
    """Calls that a pass makes of each function."""
    fan_in: int
    starts: bool = True
    """Whether functions start there as here."""
    learns_order: bool = False
    """Whether a step learns medians or quantiles, which may take more passes over more rows."""


class PreparationForecast(Message):
    """What a preparation is expected to take."""

    files: int
    bytes: int
    partitions: int
    rehearsed_partitions: int
    passes: int
    """Over the parsed rows."""
    at_once: int
    seconds: Spread
    cost_usd: Spread = Field(alias="costUSD")
    constants: str
    rehearsal_seconds: float
    indexed_files: int = 0
    """Packed files that are cut at seek points; then the number of partitions is an estimate."""


@dataclass(slots=True)
class _Total:
    seconds: float = 0.0
    dollars: float = 0.0


@dataclass(frozen=True, slots=True)
class _Draw:
    """One way in which it may come."""

    found: RehearsedPreparation
    place: PreparationPlace
    like: float
    """Where between the fastest and the slowest rehearsed partition the mean of all is, from 0 to 1."""
    slower: float
    more_passes: int
    total: _Total = field(default_factory=_Total)

    def run(self) -> _Total:
        found, place = self.found, self.place
        size = found.size
        passes = found.passes + self.more_passes
        self.total.seconds += found.start_seconds if place.starts else 0.0
        self._alone("survey", 1)
        self._index(size)
        if found.to_scan:
            self._over("scan", min(size, float(found.to_scan)))
        self._alone("begin", 1)
        self._over("parse", size)
        for _ in range(passes):
            self._over("count", size)
        # Statistics are merged after the parse and after each pass.
        self._merges(passes + 1)
        self._alone("advance", passes + 1)
        self._over("write", size)
        self._alone("finish", 1)
        self._alone("clear", 1)
        return self.total

    def _index(self, size: float) -> None:
        """Find seek points: files side by side, and each by one function at a time."""
        found, known = self.found, self.found.calls.get("index", ())
        if not found.indexed_files or not known or not found.indexed_partitions:
            return
        unit = self.slower * sum(map(self._there, known)) / found.indexed_partitions
        at_once = min(self.place.at_once, found.indexed_files)
        seconds = max(size / at_once, found.largest_share * size) * unit
        self._add(seconds, found.indexed_files, size * unit / found.indexed_files)
        self._alone("partition", 1)

    def _over(self, op: str, size: float) -> None:
        """A pass over so many partitions."""
        unit = self._unit(op)
        place, number = self.place, math.ceil(size)
        share = max(1, math.ceil(number / (place.at_once * place.calls_each)))
        calls = math.ceil(number / share)
        at_once = min(place.at_once, calls)
        one = share * unit
        # The last calls end one after the other, half a call apart on average.
        self._add(size * unit / at_once + 0.5 * one * (at_once - 1) / at_once, calls, size * unit / calls)

    def _merges(self, passes: int) -> None:
        nodes, calls, waits = math.ceil(self.found.size), 0, 0
        while True:
            nodes = max(1, math.ceil(nodes / self.place.fan_in))
            calls, waits = calls + nodes, waits + math.ceil(nodes / self.place.at_once)
            if nodes == 1:
                break
        unit = self._unit("mergeStatistics")
        self._add(passes * waits * unit, passes * calls, unit)

    def _alone(self, op: str, number: int) -> None:
        unit = self._unit(op)
        self._add(number * unit, number, unit)

    def _add(self, seconds: float, calls: int, each: float) -> None:
        place = self.place
        self.total.seconds += seconds + place.there.call + calls * place.there.dispatch
        self.total.dollars += calls * cost(place.price, place.memory, each, place.cpus)

    def _unit(self, op: str) -> float:
        """Seconds of a call of one partition, or of one that is about all of them."""
        known = self.found.calls.get(op, ())
        if not known:
            return 0.0
        seconds = sorted(self._there(each) for each in known)
        middle = statistics.fmean(seconds)
        if op in _OVER_PARTITIONS and len(seconds) > 1:
            middle += (self.like - 0.5) * min(seconds[-1] - seconds[0], middle)
        return self.slower * middle

    def _there(self, call: RehearsedCall) -> float:
        here, there = self.place.here, self.place.there
        read, written = there.read - here.read, there.write - here.write
        moved = call.read * read + call.written * written + 2 * (there.request - here.request)
        return max(LEAST_SHARE * call.seconds, call.seconds + moved)


def by_first_rows(
    calls: Mapping[str, Sequence[RehearsedCall]],
    place: PreparationPlace,
    *,
    files: int,
    size: int,
    partitions: int,
    parsed: int,
    to_scan: int,
    indexed_files: int,
    largest_share: float,
    passes: int,
    start_seconds: float,
    shares: Shares,
    seed: int,
) -> PreparationForecast:
    """What a preparation takes of which so many partitions are `parsed`, those before its parsing included. `size` is
    that of the source in bytes, `passes` the number of passes over parsed rows that its steps need at least. The same
    for the same seed."""
    done = max(1, parsed)

    def each_of(op: str, number: int) -> list[RehearsedCall]:
        """The calls of an operation as one a partition."""
        some = calls.get(op, ())
        return [RehearsedCall(sum(one.seconds for one in some) / max(1, number))] if some else []

    (parse,) = each_of("parse", done) or [RehearsedCall(0.0)]
    begin = list(calls.get("begin", ()))
    known = {
        "survey": list(calls.get("survey", ())),
        "index": list(calls.get("index", ())),
        "partition": list(calls.get("partition", ())),
        "scan": each_of("scan", to_scan),
        "begin": begin,
        "parse": [parse],
        "count": [RehearsedCall(shares.count * parse.seconds)] * passes,
        "write": [RehearsedCall(shares.write * parse.seconds)],
        **dict.fromkeys(("mergeStatistics", "advance", "finish", "clear"), begin),
    }
    found = RehearsedPreparation(
        files=files,
        bytes=size,
        partitions=partitions,
        rehearsed=1,
        bytes_rehearsed=0,
        to_scan=to_scan,
        calls=known,
        start_seconds=start_seconds,
        indexed_files=indexed_files,
        largest_share=largest_share,
        indexed_partitions=partitions,
        uncertainty=UNMEASURED,
    )
    return forecast(found, place, seed)


def forecast(found: RehearsedPreparation, place: PreparationPlace, seed: int = 0) -> PreparationForecast:
    """What the whole source takes, by many draws. The same for the same seed."""
    random = Random(f"{seed}/preparation")
    more = place.learns_order and found.partitions > found.rehearsed
    totals = [
        _Draw(
            found,
            place,
            random.random(),
            math.exp(random.gauss(0, found.uncertainty)),
            random.randrange(2) if more else 0,
        ).run()
        for _ in range(DRAWS)
    ]
    return PreparationForecast(
        files=found.files,
        bytes=found.bytes,
        partitions=found.partitions,
        rehearsed_partitions=found.rehearsed,
        passes=found.passes,
        at_once=place.at_once,
        seconds=Spread.of([each.seconds for each in totals]),
        cost_usd=Spread.of([each.dollars for each in totals]),
        constants=place.there.origin,
        rehearsal_seconds=found.seconds,
        indexed_files=found.indexed_files,
    )
