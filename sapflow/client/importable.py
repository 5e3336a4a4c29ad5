"""The folders from which a job's own model is imported, in this process and in the functions of a local run."""

import os
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sapflow.client.session import DEFAULT_STORE, absolute
from sapflow.spec.learning import ModelSpec

MODULES = "python"
"""The folder in a store's directory for modules that were written from scripts and notebooks. They are no objects."""
_OF_PYTHON = ("site-packages", "dist-packages", "lib-dynload")


def make_importable(folders: Iterable[str | Path], environ: Mapping[str, str]) -> dict[str, str]:
    """Let modules be imported from these folders, here and in workers. Returns the environment for the functions."""
    wanted = list(dict.fromkeys(str(folder) for folder in folders))
    sys.path[:0] = [folder for folder in wanted if folder not in sys.path]
    inherited = [environ["PYTHONPATH"]] if environ.get("PYTHONPATH") else []
    return {**environ, "PYTHONPATH": os.pathsep.join([*wanted, *inherited])}


def of_program(model: ModelSpec, *folders: str | Path) -> Mapping[str, str]:
    """The environment in which functions can import what this program imports, and what lies in `folders`; the
    program's own for a built-in model."""
    if model.entrypoint is None:
        return dict(os.environ)
    inherited = {**os.environ, "PYTHONPATH": os.pathsep.join(import_folders())}
    return make_importable(folders, inherited)


def modules_folder(store: str) -> Path:
    """The folder for the modules of a store's jobs: in its directory, or in a local folder for a remote store."""
    parts = urlsplit(absolute(store))
    root = Path(unquote(parts.path)) if parts.scheme == "file" else Path(DEFAULT_STORE).resolve()
    return root / MODULES


def import_folders() -> list[str]:
    """The folders from which this process imports a user's modules: its path without Python's own and packages."""
    own = {Path(path).resolve() for path in sysconfig.get_paths().values()}
    found = (Path(each or ".").resolve() for each in sys.path)
    return [
        str(each)
        for each in dict.fromkeys(found)
        if each.is_dir() and each not in own and each.name not in _OF_PYTHON
    ]
