"""Fixtures for every test: a directory store, a real MinIO, and loud words where there is none; a real cluster."""

import os
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("store_contract")

from helpers.cluster_api import ClusterApi, cluster_api  # noqa: E402
from helpers.cluster_cli import ClusterCli  # noqa: E402
from helpers.forked_functions import Forks, in_use  # noqa: E402
from helpers.kube import SECONDS, namespace_of_its_own  # noqa: E402
from hypothesis import settings  # noqa: E402
from s3_servers import HOW_TO_FIX, Minio, S3Service, find_minio, named_service  # noqa: E402

from sapflow import Client  # noqa: E402
from sapflow.objects.stores.factory import open_store  # noqa: E402
from sapflow.objects.stores.protocol import Store  # noqa: E402
from sapflow.training import apart  # noqa: E402

settings.register_profile("sapflow", deadline=None)  # No test asserts a time.
settings.load_profile("sapflow")
apart.IDLE_SECONDS = 600.0  # One interpreter with torch looks at the models of all tests of a process.


@pytest.fixture
def directory_store(tmp_path: Path) -> Store:
    """An empty directory store."""
    return open_store(str(tmp_path / "store"))


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Service]:
    """The store that SAPFLOW_TEST_S3 names, else a MinIO process of this session.

    Skips where there is neither, and fails instead where SAPFLOW_REQUIRE_S3 is 1.
    """
    if service := named_service(os.environ):
        yield service
        service.clear()
    elif binary := find_minio(os.environ):
        with Minio(binary, tmp_path_factory.mktemp("minio")) as service:
            yield service
    elif os.environ.get("SAPFLOW_REQUIRE_S3") == "1":
        pytest.fail(HOW_TO_FIX)
    else:
        pytest.skip(HOW_TO_FIX)


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """What `forked_functions` are forked from."""
    with Forks() as parents:
        yield parents


@pytest.fixture(scope="module")
def forked_functions(forks: Forks) -> Iterator[None]:
    """Jobs that a module's tests run in this process get functions that start quickly (helpers.forked_functions)."""
    with in_use(forks):
        yield


@pytest.fixture
def s3_store(minio: S3Service) -> Iterator[Store]:
    """An S3 store in a prefix of this test's own."""
    store = minio.open(secrets.token_hex(4))
    yield store
    store.close()


@pytest.fixture
def api() -> Iterator[ClusterApi]:
    """An API server of this test's own, which plays a cluster with Sapflow."""
    with cluster_api() as served:
        yield served


@pytest.fixture
def cli(
    api: ClusterApi, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ClusterCli:
    """`sapflow …` in an empty folder, against that cluster."""
    monkeypatch.chdir(tmp_path)
    return ClusterCli(api, capsys, tmp_path)


@pytest.fixture
def client(api: ClusterApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client of that cluster."""
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path)))
    return Client()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """tests/e2e runs against the cluster that KUBECONFIG names, with Sapflow installed in it: see tools/e2e."""
    reachable = os.environ.get("KUBECONFIG") and shutil.which("kubectl")
    for item in items:
        if "tests/e2e" in item.path.as_posix():
            item.add_marker(pytest.mark.e2e)
            if not any(item.iter_markers("timeout")):
                item.add_marker(pytest.mark.timeout(2 * SECONDS))
            if not reachable:
                item.add_marker(
                    pytest.mark.skip(reason="KUBECONFIG names no cluster, or there is no kubectl")
                )


@pytest.fixture
def namespace() -> Iterator[str]:
    """A namespace of this test's own, in a real cluster, that enforces the restricted standard."""
    with namespace_of_its_own() as name:
        yield name


@pytest.fixture
def another_namespace() -> Iterator[str]:
    """A second one."""
    with namespace_of_its_own() as name:
        yield name


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say at the end, in red, that S3 was not tested: a skip among hundreds of dots is overlooked.

    And which jobs were held against an earlier commit's code instead of recorded weights (test_bits).
    """
    skipped = [
        report for report in terminalreporter.stats.get("skipped", []) if HOW_TO_FIX in str(report.longrepr)
    ]
    if skipped:
        terminalreporter.section(f"S3 WAS NOT TESTED ({len(skipped)} tests)", red=True, bold=True)
        terminalreporter.line(HOW_TO_FIX, red=True)
    reports = [report for group in terminalreporter.stats.values() for report in group]
    calls = [report for report in reports if getattr(report, "when", None) == "call"]
    properties = [each for report in calls for each in report.user_properties]
    for text, jobs in Counter(text for name, text in properties if name == "bits").items():
        terminalreporter.section(f"THE WEIGHTS OF {jobs} JOBS ARE NOT RECORDED", yellow=True, bold=True)
        terminalreporter.line(text, yellow=True)
