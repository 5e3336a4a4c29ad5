"""Where the records of a CSV file begin, found from any place of it on.

Whether a newline ends a record depends on all quotation marks before it. So a span of the file is read from both states
that its beginning may be in, outside quotation marks and inside them, and what is found of spans that follow each other
is composed: with the file's beginning, which is outside, every span's true state follows.

Outside, a run of quotation marks opens a field if a delimiter or a newline stands before it; elsewhere it is text, as
in Python's csv. Inside, each pair is one mark of the text, and the odd one closes. So a run of even length changes
nothing, and one of odd length either swaps the two states (after a delimiter or a newline) or leads outside from both.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

OUTSIDE, INSIDE = 0, 1
LF, CR = 10, 13
SLICE_BYTES = 4 << 20
AHEAD_BYTES = 64 << 10

Read = Callable[[int, int], bytes]
"""The bytes of a file from one offset to another, fewer where it ends before."""


@dataclass(frozen=True, slots=True)
class Marks:
    """The bytes that tell records and fields apart. `quote` and `escape` are None where a file has none."""

    delimiter: int
    quote: int | None
    escape: int | None = None


@dataclass(frozen=True, slots=True)
class Runs:
    """The runs of quotation marks of some bytes, with the states around each."""

    begin: np.ndarray
    """int64 [runs]: where each begins."""
    length: np.ndarray
    before: np.ndarray
    """uint8 [runs]: OUTSIDE or INSIDE."""
    after: np.ndarray
    opening: np.ndarray
    """bool [runs]: whether a delimiter or a newline stands before it."""

    def state_at(self, places: np.ndarray, start: int) -> np.ndarray:
        """uint8: the state at each of these places, which are in no run."""
        if not len(self.begin):
            return np.full(len(places), start, np.uint8)
        states = np.concatenate([np.array([start], np.uint8), self.after])
        return np.asarray(states[np.searchsorted(self.begin, places)])


def plain(data: np.ndarray, marks: Marks) -> np.ndarray:
    """The bytes with what is escaped, and the escapes, as bytes without meaning. `data` is uint8 and stays as it is."""
    if marks.escape is None:
        return data
    escapes = np.flatnonzero(data == marks.escape)
    if not len(escapes):
        return data
    begin, length = _runs(escapes)
    copy = data.copy()
    copy[escapes] = 0
    escaped = (begin + length)[length % 2 == 1]
    copy[escaped[escaped < len(data)]] = 0
    return copy


def quote_runs(data: np.ndarray, before: int, marks: Marks, start: int) -> Runs:
    """The runs of quotation marks in `data` (made `plain`); `before` is the byte before, no quotation mark."""
    quotes = np.flatnonzero(data == marks.quote) if marks.quote is not None else np.empty(0, np.int64)
    if not len(quotes):
        none = np.empty(0, np.uint8)
        return Runs(quotes, quotes, none, none, np.empty(0, bool))
    begin, length = _runs(quotes)
    previous = data[begin - 1]
    if begin[0] == 0:
        previous[0] = before
    opening = (previous == marks.delimiter) | (previous == LF) | (previous == CR)
    odd = length % 2 == 1
    swaps = np.cumsum(odd & opening)
    numbers = np.arange(1, len(begin) + 1)
    reset = np.maximum.accumulate(np.where(odd & ~opening, numbers, 0))
    since = swaps - np.where(reset > 0, swaps[reset - 1], 0)
    after = ((since + np.where(reset > 0, OUTSIDE, start)) & 1).astype(np.uint8)
    earlier = np.concatenate([np.array([start], np.uint8), after[:-1]])
    return Runs(begin, length, earlier, after, opening)


def line_ends(data: np.ndarray) -> np.ndarray:
    """Where lines end in `data`: the places of LF, and of each CR that no LF follows (the last byte may be one)."""
    ends = data == LF
    returns = np.flatnonzero(data == CR)
    if len(returns):
        following = np.minimum(returns + 1, len(data) - 1)
        ends[returns[(data[following] != LF)]] = True
    return np.flatnonzero(ends)


@dataclass(frozen=True, slots=True)
class Span:
    """What is found of consecutive bytes of a file, from each state that they may begin in (OUTSIDE, INSIDE)."""

    lines: int
    """Lines that end in it."""
    ends: tuple[int, int]
    """The state in which it ends."""
    records: tuple[int, int]
    """Records that begin in it and are no empty lines."""
    first: tuple[int, int]
    """The offset in the file where the first record begins; -1 if none does."""
    skipped: tuple[int, int]
    """Lines that end before `first`."""

    def then(self, following: "Span") -> "Span":
        """Both as one. Associative, so spans may be composed up any tree."""
        inner = [following.ends[state] for state in self.ends]
        records = [
            count + following.records[state] for count, state in zip(self.records, self.ends, strict=True)
        ]
        first, skipped = list(self.first), list(self.skipped)
        for state in (OUTSIDE, INSIDE):
            if first[state] < 0:
                first[state] = following.first[self.ends[state]]
                found = first[state] >= 0
                skipped[state] = self.lines + following.skipped[self.ends[state]] if found else 0
        return Span(
            self.lines + following.lines,
            (inner[0], inner[1]),
            (records[0], records[1]),
            (first[0], first[1]),
            (skipped[0], skipped[1]),
        )


EMPTY = Span(0, (OUTSIDE, INSIDE), (0, 0), (-1, -1), (0, 0))


def span(data: np.ndarray, before: int, offset: int, marks: Marks) -> Span:
    """What is found of `data`, uint8, which begins at `offset` of the file, after the byte `before`. Neither end may
    lie where `place_to_cut` would not cut."""
    if not len(data):
        return EMPTY
    lines = ends = line_ends(data)
    unescaped = plain(data, marks)
    if unescaped is not data:
        data, ends = unescaped, line_ends(unescaped)
    states, records, first, skipped = [], [], [], []
    for start in (OUTSIDE, INSIDE):
        runs = quote_runs(data, before, marks, start)
        states.append(int(runs.after[-1]) if len(runs.after) else start)
        outside = runs.state_at(ends, start) == OUTSIDE
        begins = ends[outside] + 1
        if start == OUTSIDE and before == LF:
            begins = np.concatenate([[0], begins])
        begins = begins[begins < len(data)]
        opened = data[begins]
        records.append(int(np.count_nonzero((opened != LF) & (opened != CR))))
        first.append(offset + int(begins[0]) if len(begins) else -1)
        skipped.append(int(np.searchsorted(lines, begins[0])) if len(begins) else 0)
    return Span(
        len(lines),
        (states[0], states[1]),
        (records[0], records[1]),
        (first[0], first[1]),
        (skipped[0], skipped[1]),
    )


def place_to_cut(read: Read, wanted: int, begin: int, size: int, marks: Marks) -> int:
    """The first offset from `wanted` on before which stands no quotation mark, CR or escape, nor what is escaped: there
    the two states and the byte before are all that has to be known. `begin` is where the file's records begin."""
    if wanted <= begin:
        return begin
    special = {CR, marks.quote, marks.escape} - {None}
    at = wanted
    while at < size:
        ahead = read(max(begin, at - 2), min(size, at + AHEAD_BYTES))
        base = max(begin, at - 2)
        while at - base <= len(ahead) and at < size:
            last = ahead[at - base - 1]
            escaped = at - 2 >= base and ahead[at - base - 2] == marks.escape
            if last not in special and not escaped:
                return at
            at += 1
    return size


def scanned(read: Read, begin: int, end: int, origin: int, size: int, marks: Marks) -> Span:
    """What is found between two offsets of a file (each moved to where it can be cut). `origin` is where the file's
    records begin, after a byte order mark."""
    at = place_to_cut(read, begin, origin, size, marks)
    last = place_to_cut(read, end, origin, size, marks)
    found = EMPTY
    while at < last:
        stop = min(last, place_to_cut(read, at + SLICE_BYTES, origin, size, marks))
        held = read(max(origin, at - 1), stop)
        before = held[0] if at > origin else LF
        data = np.frombuffer(held, np.uint8)[1 if at > origin else 0 :]
        found = found.then(span(data, before, at, marks))
        at = stop
    return found


def _runs(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where runs of consecutive places begin, and how long they are."""
    first = np.concatenate([[True], np.diff(places) != 1])
    begin = places[first]
    edges = np.append(np.flatnonzero(first), len(places))
    return begin, np.diff(edges)
