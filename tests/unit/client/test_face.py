"""`import sapflow`: what it brings, and what it leaves alone until it is asked for."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import sapflow
from sapflow.spec.training_job import Spec

ROOT = Path(sapflow.__file__).parents[1]
HEAVY = {
    "typing",
    "pydantic",
    "numpy",
    "torch",
    "yaml",
    "rich",
    "aiohttp",
    "kubernetes",
    "asyncio",
    "minio",
    "argparse",
}


def loaded_by(program: str, *options: str) -> set[str]:
    """The top-level packages that a fresh interpreter has after a program."""
    code = f"{program}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    command = [sys.executable, *options, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


def test_an_import_loads_nothing_that_takes_time() -> None:
    # Without site, which itself loads much where packages are installed for editing.
    assert not HEAVY & loaded_by("import sapflow; dir(sapflow)", "-S", "-E")


def test_a_job_is_written_down_without_torch_and_without_a_cluster() -> None:
    assert not {"torch", "kubernetes", "rich"} & loaded_by("import sapflow; sapflow.TrainingJob")


def test_every_name_leads_to_what_it_says() -> None:
    for name in sapflow.__all__:
        assert getattr(sapflow, name) is not None
        assert name in dir(sapflow)
    assert sapflow.load_model.__module__ == "sapflow.client.predict"


def test_who_checks_types_sees_the_names_that_there_are() -> None:
    tree = ast.parse(inspect.getsource(sapflow))
    typed = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        each.asname: node.module
        for node in ast.walk(typed)
        if isinstance(node, ast.ImportFrom)
        for each in node.names
    }
    assert seen == sapflow._PLACES
    assert {*seen, "__version__"} == set(sapflow.__all__)


def test_a_name_that_is_not_there_is_said_so() -> None:
    with pytest.raises(AttributeError, match="module 'sapflow' has no attribute 'jobs'"):
        sapflow.jobs  # type: ignore[attr-defined]  # noqa: B018


def test_every_field_of_the_spec_is_a_keyword() -> None:
    keywords = set(inspect.signature(sapflow.TrainingJob).parameters)
    assert set(Spec.model_fields) == keywords - {"name", "namespace", "labels"}
