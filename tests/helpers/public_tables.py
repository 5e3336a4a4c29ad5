"""Public tables of packages that `make test` installs."""

import importlib.util
import os
from pathlib import Path

import pytest

HOW_TO_FIX = "is not installed: pip install 'sapflow[tables]'"


def table_of(package: str, name: str) -> Path:
    """A file of a package. Skips where that is missing, and fails instead where SAPFLOW_REQUIRE_TABLES is 1."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        if os.environ.get("SAPFLOW_REQUIRE_TABLES") == "1":
            pytest.fail(f"{package} {HOW_TO_FIX}")
        pytest.skip(f"{package} {HOW_TO_FIX}")
    return Path(found.origin).parent / name
