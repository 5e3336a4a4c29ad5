"""Flights as raw CSV in folders: missing values, categories, times, and some rows that cannot be read."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

HEADER = "time,carrier,origin,tail,delay,distance,late"
CARRIERS = ("AA", "B6", "DL", "EV", "UA", "")
ORIGINS = ("EWR", "JFK", "LGA")
_YEAR = np.datetime64("2013-01-01T05:00:00")


@dataclass(frozen=True)
class Departures:
    """A folder of such files, and what is in it."""

    folder: Path
    rows: int
    """All rows, bad ones included."""
    bad: tuple[tuple[str, int], ...]
    """File and line of each row that cannot be read."""


def departures(
    folder: Path, *, rows: int = 3_000, files: int = 2, bad: int = 0, seed: int = 16, tail: int = 6
) -> Departures:
    """Write files of about as many rows each. `tail`: the characters in a cell that nobody needs.

    Every other bad row has a distance that is no number, the others lack a cell. Whether a flight is late follows from
    delay, hour and carrier, with chance.
    """
    folder.mkdir(parents=True)
    drawn = np.random.default_rng(seed)
    wrong, kept = [], 0
    for number, part in enumerate(np.array_split(np.arange(rows), files)):
        count = len(part)
        minutes = drawn.integers(0, 365 * 24 * 60, count)
        times = np.datetime_as_string(_YEAR + minutes.astype("timedelta64[m]"), unit="s")
        carrier = drawn.choice(len(CARRIERS), count, p=[0.2, 0.2, 0.2, 0.18, 0.2, 0.02])
        origin = drawn.choice(len(ORIGINS), count)
        delay = np.round(drawn.normal(5, 20, count))
        distance = drawn.integers(80, 5_000, count)
        hour = (5 + minutes // 60) % 24
        score = delay / 12 + (hour - 12) / 8 + (carrier == CARRIERS.index("EV"))
        late = score + drawn.logistic(size=count) * 0.7 > 0.5
        missing = drawn.random(count) < 0.08
        tails = drawn.integers(10**5, 10**6, count)
        lines = [
            f"{times[row]}Z,{CARRIERS[carrier[row]]},{ORIGINS[origin[row]]},N{tails[row]:0{max(tail - 1, 1)}},"
            f"{'NA' if missing[row] else int(delay[row])},{distance[row]},{'yes' if late[row] else 'no'}"
            for row in range(count)
        ]
        name = f"part-{number}.csv"
        here = drawn.choice(count, min(bad - kept, -(-bad // files)), replace=False)
        for place, row in enumerate(sorted(int(each) for each in here)):
            cells = lines[row].split(",")
            lines[row] = ",".join([*cells[:5], "far", cells[6]] if place % 2 else cells[:-1])
            wrong.append((name, row + 2))
        kept += len(here)
        (folder / name).write_text("\n".join([HEADER, *lines]) + "\n")
    return Departures(folder, rows, tuple(wrong))
