"""Every sample of manifests/samples on the cluster, shortened by a kustomize overlay where long."""

from pathlib import Path

import pytest
from helpers.departures import Departures, departures
from helpers.kube import ROOT, SAMPLES, Job, kubectl, owned_store
from helpers.tuning_cluster import Search

from sapflow.data.generate import ensure_cifar, ensure_mnist

OVERLAYS = ROOT / "tests" / "e2e" / "overlays"
CIFAR, FASHION, FLIGHTS = "cifar-10-batches-bin", "fashion-mnist", "flights"


def apply_overlay(namespace: str, name: str) -> Job:
    text = kubectl("kustomize", "--load-restrictor=LoadRestrictionsNone", str(OVERLAYS / name))
    kubectl("apply", "-n", namespace, "-f", "-", text=text)
    return Job(namespace, name)


@pytest.fixture
def cifar(tmp_path: Path) -> None:
    """Files in CIFAR-10's format in the bucket, put there by the bucket's owner as a user would."""
    folder = ensure_cifar(tmp_path / "cifar", 2_000)
    with owned_store() as store:
        for path in sorted(folder.iterdir()):
            store.create(f"{CIFAR}/{path.name}", path.read_bytes())


@pytest.fixture
def fashion(tmp_path: Path) -> None:
    """Files in MNIST's format in the bucket, put there by the bucket's owner as a user would."""
    folder = ensure_mnist(tmp_path / FASHION, 2_000, gzipped=True)
    with owned_store() as store:
        for path in sorted(folder.iterdir()):
            store.create(f"{FASHION}/{path.name}", path.read_bytes())


@pytest.fixture
def flights(tmp_path: Path) -> Departures:
    """Raw CSV in the bucket, put there by the bucket's owner as a user would."""
    found = departures(tmp_path / FLIGHTS, rows=6_000, bad=5)
    with owned_store() as store:
        for path in sorted(found.folder.iterdir()):
            store.create(f"{FLIGHTS}/{path.name}", path.read_bytes())
    return found


def test_case_a_merges_by_a_tree_of_four_levels(namespace: str) -> None:
    job = apply_overlay(namespace, "case-a")
    seen = job.until_succeeded(600)
    assert seen["progress"]["step"] == 12
    assert seen["progress"]["structure"] == [1, 2, 5, 20]


@pytest.mark.usefixtures("cifar")
def test_case_b_trains_on_files_in_the_bucket(namespace: str) -> None:
    job = apply_overlay(namespace, "case-b")
    seen = job.until_succeeded(600)
    assert seen["progress"]["step"] == 12
    assert 0 < seen["result"]["validationAccuracy"] <= 1


@pytest.mark.usefixtures("fashion")
def test_case_c_searches_on_files_in_the_bucket(namespace: str) -> None:
    search = Search(namespace, apply_overlay(namespace, "case-c").name)
    seen = search.until_succeeded(600)
    assert seen["progress"]["trials"] == "4/4"
    assert seen["result"]["objective"] > 0.2


def test_raw_flights_in_the_bucket_are_prepared_and_learnt(namespace: str, flights: Departures) -> None:
    job = apply_overlay(namespace, "prepare")
    seen = job.until_succeeded()
    found = seen["progress"]["preparation"]
    assert (found["rows"], found["rejectedRows"]) == (flights.rows, len(flights.bad))
    assert seen["result"]["validationAccuracy"] > 0.7


def test_asynchronous_training_reaches_its_accuracy(namespace: str) -> None:
    job = apply_overlay(namespace, "async")
    assert job.until_succeeded()["result"]["validationAccuracy"] >= 0.85


def test_local_steps_reach_their_accuracy(namespace: str) -> None:
    job = apply_overlay(namespace, "local-steps")
    assert job.until_succeeded()["result"]["validationAccuracy"] >= 0.85


def test_a_model_of_ones_own_comes_with_an_image_of_ones_own(namespace: str) -> None:
    job = apply_overlay(namespace, "own-model")
    assert job.until_succeeded()["result"]["validationAccuracy"] >= 0.8


def test_mnist_as_it_stands_stops_at_its_accuracy(namespace: str) -> None:
    kubectl("apply", "-n", namespace, "-f", str(SAMPLES / "mnist.yaml"))
    seen = Job(namespace, "mnist").until_succeeded(600)
    assert seen["result"]["targetReached"] is True
    assert seen["result"]["validationAccuracy"] >= 0.96


def test_every_sample_is_tried_here() -> None:
    names = {path.stem for path in SAMPLES.glob("*.yaml")}
    elsewhere = {"cells", "digits", "pipeline", "serve", "tune"}
    here = {path.name for path in OVERLAYS.iterdir()} | {"mnist"}
    assert names == here | elsewhere
