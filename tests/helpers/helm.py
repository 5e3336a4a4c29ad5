"""Helm for tests: on the PATH, or as tests/cluster built it."""

import os
import shutil
from pathlib import Path

import pytest

HOW_TO_FIX = (
    "no helm was found, so the chart was not tested: install it, or `tests/cluster/cluster build helm`"
)


def find_helm() -> str | None:
    built = Path(os.environ.get("CLUSTER_HOME") or Path.home() / ".cache" / "sapflow-cluster") / "bin"
    return shutil.which("helm") or shutil.which("helm", path=str(built))


def require_helm() -> None:
    """Skip where there is none, and fail instead where SAPFLOW_REQUIRE_HELM is 1."""
    if find_helm() is None:
        if os.environ.get("SAPFLOW_REQUIRE_HELM") == "1":
            pytest.fail(HOW_TO_FIX)
        pytest.skip(HOW_TO_FIX)
