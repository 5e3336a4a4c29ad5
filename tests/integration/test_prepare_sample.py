"""The sample of preparations on this machine, on flights of a folder beside it."""

import json
import subprocess
import sys
from pathlib import Path

from helpers.departures import departures
from helpers.kube import SAMPLES


def test_the_sample_prepares_and_trains_on_a_folder_of_csv_and_tells_bad_rows(tmp_path: Path) -> None:
    flights = departures(tmp_path / "flights", bad=5)
    command = [
        sys.executable,
        "-m",
        "sapflow",
        "run",
        str(SAMPLES / "prepare.yaml"),
        "--store",
        "store",
        "--json",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["validationAccuracy"] > 0.7
    rejected = [
        json.loads(line)
        for path in sorted((tmp_path / "store").glob("shared/*/data/rejected/reading/*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    assert {(Path(each["file"]).name, each["line"]) for each in rejected} == set(flights.bad)
