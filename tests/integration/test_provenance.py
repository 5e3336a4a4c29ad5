"""Each result says where it comes from: in a record beside the model, and in the model's metadata."""

import hashlib
import json
from pathlib import Path
from typing import Any

from helpers.jobs import Place, Simulation, make_place, tiny_job

from sapflow.cpu_capability import cpu_capability
from sapflow.objects import keys, safetensor
from sapflow.records.numerics import NUMERICS


def record(place: Place) -> dict[str, Any]:
    key = keys.result(keys.job(place.uid), "provenance.json")
    return dict(json.loads(bytes(place.store.read(key))))


def metadata(place: Place) -> dict[str, Any]:
    return dict(json.loads(safetensor.decode(memoryview(place.result()))[1]["provenance"]))


def test_the_record_names_what_the_result_follows_from_and_what_computed_it(tmp_path: Path) -> None:
    place = make_place(tmp_path, tiny_job())
    outcome = Simulation(place).run()
    found, prefix = record(place), keys.job(place.uid)
    commit = place.commit(5)
    assert commit.sha256 is not None

    def sha256(key: str) -> str:
        return hashlib.sha256(place.store.read(key)).hexdigest()

    assert found["model"] == {"uri": outcome["uri"], "sha256": outcome["sha256"]}
    assert found["spec"] == sha256(keys.spec(prefix))
    assert found["data"]["manifest"] == sha256(keys.manifest(place.resolved.data_prefix))
    assert (found["data"]["train"], found["data"]["validation"]) == (120, 30)
    assert found["plans"] == [{"from": 1, "plan": commit.plan}]
    assert (found["cpus"], found["commit"]) == ([cpu_capability()], commit.digest)
    assert found["parameters"] == commit.sha256.params[0]
    assert found["weights"] == metadata(place)
    assert metadata(place)["version"] == 5
    assert (metadata(place)["seed"], metadata(place)["numerics"]) == (3, NUMERICS)


def test_equal_weights_of_equal_history_are_one_file_whatever_computed_them(tmp_path: Path) -> None:
    one = make_place(tmp_path / "one", tiny_job())
    other = make_place(tmp_path / "other", tiny_job(merge_channel="Inline", evaluation={"everySteps": 5}))
    assert Simulation(one).run()["sha256"] == Simulation(other).run()["sha256"]
    assert record(one)["spec"] != record(other)["spec"]


def test_what_a_record_lists_does_not_grow_with_the_job(tmp_path: Path) -> None:
    sizes = []
    for steps in (4, 24):
        place = make_place(tmp_path / str(steps), tiny_job(algorithm_steps=steps))
        Simulation(place).run()
        sizes.append(len(json.dumps(record(place))))
    assert abs(sizes[1] - sizes[0]) < 32
