"""Which modules a user's code consists of, found without importing any."""

import sys
from pathlib import Path

import pytest

from sapflow.spec import source_code


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    files = {
        "top.py": "import package.inner\nimport json, numpy\nraise SystemExit('imported')\n",
        "package/__init__.py": "from . import beside\n",
        "package/inner.py": "from .beside import x\nfrom ..nowhere import y\nimport lazy_one\n",
        "package/beside.py": "def f():\n    from package.deep import module\n",
        "package/deep/__init__.py": "",
        "package/deep/module.py": "from package.deep.module import self_import\n",
        "package/unused.py": "",
        "lazy_one.py": "syntax error here\n",
        "unused.py": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_the_modules_of_the_users_tree_are_found_and_none_is_run(tree: Path) -> None:
    found = source_code.digests(["top:build"], [str(tree), *sys.path])
    assert list(found) == [
        "lazy_one", "package", "package.beside", "package.deep", "package.deep.module", "package.inner", "top",
    ]  # fmt: skip
    assert all(len(digest) == 64 for digest in found.values())


def test_a_change_of_any_of_them_is_a_change_and_of_others_none(tree: Path) -> None:
    path = [str(tree), *sys.path]
    before = source_code.digests(["top:build"], path)
    (tree / "unused.py").write_text("x = 1\n")
    assert source_code.digests(["top:build"], path) == before
    (tree / "package/deep/module.py").write_text("x = 1\n")
    (tree / "lazy_one.py").unlink()
    now = source_code.digests(["top:build"], path)
    assert source_code.differences(before, now) == ["lazy_one (gone)", "package.deep.module (changed)"]
    assert source_code.fingerprint(before) != source_code.fingerprint(now)


def test_an_installed_package_counts_where_the_entrypoint_names_it(tmp_path: Path) -> None:
    """In an image the user's package may be installed."""
    installed = tmp_path / "site-packages"
    (installed / "mine").mkdir(parents=True)
    (installed / "mine" / "__init__.py").write_text("import other\n")
    (installed / "other.py").write_text("")
    assert list(source_code.digests(["mine:build"], [str(installed)])) == ["mine"]


def test_what_is_not_there_and_sapflows_own_are_no_modules() -> None:
    assert source_code.digests(["no_such_module:build", "sapflow_no.such:loss"], sys.path) == {}
    assert source_code.fingerprint({}) is None
    assert source_code.of_this_process(()) == {}


def test_another_process_finds_what_functions_would(tree: Path) -> None:
    here = source_code.digests(["top:build"], [str(tree), *sys.path])
    assert source_code.apart(["top:build"], {"PYTHONPATH": f"{tree}:{':'.join(sys.path)}"}) == here
