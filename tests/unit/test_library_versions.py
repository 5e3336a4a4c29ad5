"""What is told of the libraries that compute."""

import subprocess
import sys

import numpy as np

from sapflow.library_versions import library_versions


def test_versions_are_those_of_the_modules_that_compute() -> None:
    assert library_versions()["numpy"] == np.__version__


def test_a_library_that_is_not_loaded_is_not_named_and_not_loaded_for_it() -> None:
    code = "import sapflow.library_versions as it, sys; print(it.library_versions(), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{} False"
