"""Every test here runs against the cluster that KUBECONFIG names, with Sapflow installed in it: see tools/e2e."""

import os
import shutil
from collections.abc import Iterator

import pytest
from helpers.kube import SECONDS, namespace_of_its_own


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reachable = os.environ.get("KUBECONFIG") and shutil.which("kubectl")
    for item in items:
        if "tests/e2e" not in item.path.as_posix():
            continue
        item.add_marker(pytest.mark.e2e)
        if not any(item.iter_markers("timeout")):
            item.add_marker(pytest.mark.timeout(2 * SECONDS))
        if not reachable:
            item.add_marker(pytest.mark.skip(reason="KUBECONFIG names no cluster, or there is no kubectl"))


@pytest.fixture
def namespace() -> Iterator[str]:
    """A namespace of this test's own that enforces the restricted standard."""
    with namespace_of_its_own() as name:
        yield name
