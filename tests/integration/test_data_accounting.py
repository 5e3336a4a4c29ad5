"""What workers read of the data is in the commits of whole jobs and in their metrics.jsonl."""

import json
from pathlib import Path

import pytest
from helpers.jobs import Simulation, make_place, tiny_job

from sapflow.objects import keys


@pytest.mark.parametrize("mode", [{}, {"algorithm_localSteps": 2}, {"algorithm_mode": "Async"}])
def test_commits_and_lines_of_metrics_count_what_was_read_of_the_data(
    tmp_path: Path, mode: dict[str, object]
) -> None:
    changes = {"merge_structure": None, **mode} if "algorithm_mode" in mode else mode
    place = make_place(tmp_path / "store", tiny_job(**changes))
    Simulation(place).run()
    commits = list(place.commits())
    assert commits[0].measured.data_bytes is None
    counted = [each.measured.data_bytes or 0 for each in commits[1:]]
    # 120 samples of four float32 and a target; any of the warm instances may serve any rank, and read what it lacks.
    assert 120 * 20 <= sum(counted) <= 4 * (120 * 20 + 4096)
    assert sum(each.measured.data_seconds or 0.0 for each in commits) > 0
    assert sum(each.measured.phases.get("data", 0.0) for each in commits[1:]) > 0
    text = bytes(place.store.read(keys.result(place.resolved.prefix, "metrics.jsonl"))).decode()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line.get("dataBytes") for line in lines] == [
        each.measured.data_bytes for each in commits[1 : len(lines) + 1]
    ]
