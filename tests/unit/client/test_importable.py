"""Where a job's own model is imported from."""

import sys
import sysconfig
from pathlib import Path

import pytest

from sapflow.client.importable import import_folders, make_importable, modules_folder


def test_functions_import_what_the_program_does_and_python_brings_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    own = sysconfig.get_paths()
    monkeypatch.setattr(
        sys,
        "path",
        ["", str(tmp_path), own["stdlib"], own["purelib"], str(tmp_path / "gone"), "/no/site-packages"],
    )
    assert import_folders() == [str(tmp_path / "here"), str(tmp_path)]


def test_folders_come_first_here_and_in_functions_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["/b", "/c"])
    environ = make_importable(["/a", "/b", "/a"], {"PYTHONPATH": "/d", "OTHER": "x"})
    assert sys.path == ["/a", "/b", "/c"]
    assert environ == {"PYTHONPATH": "/a:/b:/d", "OTHER": "x"}


def test_modules_that_were_written_lie_in_the_store_or_in_our_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert modules_folder("/data/store") == Path("/data/store/python")
    assert modules_folder("store") == tmp_path / "store" / "python"
    assert modules_folder("s3://bucket/prefix?endpoint=http://host:9000") == tmp_path / ".sapflow" / "python"
