"""Rules of the repository that no linter keeps."""

import ast
import importlib.util
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import sapflow

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("sapflow", "functions", "operator")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# Where a handler may take any exception and go on: "path: function" and the reason.
BROAD_HANDLERS = {
    "functions/sapflow_functions/calls.py: Function._work": "whatever a user's model raises must be answered",
    "sapflow/client/background.py: Background._main": "whatever ends a thread is raised where it is waited for",
    "sapflow/client/in_time.py: in_time.listen": "the same",
}

# What a merger or the command line must not load when it starts: each costs tens of MiB or hundreds of ms.
HEAVY = {"torch", "sklearn", "scipy", "pandas", "pyarrow", "matplotlib"}

# Joined here so that this file keeps its own rule.
REGISTRIES = tuple(
    ".".join(labels)
    for labels in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("proxy", "golang", "org"),
        ("registry", "npmjs"),
        ("deb", "debian", "org"),
        ("crates", "io"),
        ("pkg", "dev/"),
        ("jfrog", "io"),
        ("download", "pytorch", "org"),
    )
)

# Words that tell nothing to a reader who knows the field and not this code: no identifier has one of them in its name.
VAGUE = {
    "around", "farewell", "ground", "law", "leg", "legs", "litter", "look", "looked", "looks", "preparing", "searching",
    "sizing", "surroundings", "turn", "turns", "whole",
}  # fmt: skip
WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")

PRIVATE_PATH = re.compile(r"""(?:^|[\s"'`=(:,])/(?:""" + "|".join(("root", "home", "work")) + r")/\w")


def files() -> list[Path]:
    """The project's own files, as git would track them."""
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = sorted(
            name
            for name in folders
            if name not in {"__pycache__", "build", "dist", "node_modules"}
            and not name.endswith(".egg-info")
            and (not name.startswith(".") or name in {".ci", ".github"})
        )
        found += [Path(folder, name) for name in sorted(names) if not name.endswith(".pyc")]
    return found


def texts() -> Iterator[tuple[str, str]]:
    for path in files():
        content = path.read_bytes()
        if path.is_file() and b"\0" not in content[:8192]:
            yield str(path.relative_to(ROOT)), content.decode()


def sources(*tops: str) -> list[Path]:
    return [path for path in files() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in tops]


def fresh(code: str) -> str:
    """What an interpreter of its own prints."""
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_folders_that_hold_packages_are_no_packages_themselves() -> None:
    # A package named `operator` would hide the standard library's.
    for folder in ("operator", "functions"):
        assert not (ROOT / folder / "__init__.py").exists()


def test_the_standard_librarys_operator_is_the_one_imported() -> None:
    assert "site-packages" not in fresh("import operator; print(operator.__file__)")


@pytest.mark.parametrize("path", sources(*PACKAGES), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_has_at_most_500_lines(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= 500, f"{path.relative_to(ROOT)} has {lines} lines: split it by concept"


def vague(name: str) -> bool:
    return not VAGUE.isdisjoint(word.lower() for word in WORD.findall(name))


def identifiers(path: Path) -> Iterator[str]:
    """All names in a module's code, and its own; comments and texts do not count."""
    yield path.stem
    for node in ast.walk(ast.parse(path.read_text())):
        for field in ("id", "name", "attr", "arg", "asname"):
            if isinstance(name := getattr(node, field, None), str):
                yield name


def test_a_vague_word_is_found_in_every_style_of_name() -> None:
    assert all(map(vague, ("look", "_next_look", "LOOKS_AT_ONCE", "ColdLook", "HTTPLook", "whole2")))
    assert not any(map(vague, ("lookup", "background", "returns", "lawful", "outlook")))


@pytest.mark.parametrize("path", sources(*PACKAGES, "bench"), ids=lambda path: str(path.relative_to(ROOT)))
def test_identifiers_are_the_fields_own_words(path: Path) -> None:
    assert sorted({name for name in identifiers(path) if vague(name)}) == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in sources(*PACKAGES)
        if path.read_text().strip() and ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert silent == []


class _BroadHandlers(ast.NodeVisitor):
    """Collects the functions with a handler that takes any exception and does not raise again."""

    def __init__(self) -> None:
        self.scope: list[str] = []
        self.found: list[str] = []

    def _enter(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        self.scope.append(node.name)
        self.generic_visit(node)
        self.scope.pop()

    visit_FunctionDef = _enter
    visit_AsyncFunctionDef = _enter
    visit_ClassDef = _enter

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        types = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        names = {type.id if isinstance(type, ast.Name) else None for type in types if type is not None}
        broad = node.type is None or bool(names & {"Exception", "BaseException"})
        if broad and not isinstance(node.body[-1], ast.Raise):
            self.found.append(".".join(self.scope))
        self.generic_visit(node)


def test_no_handler_swallows_every_exception() -> None:
    found = []
    for path in sources(*PACKAGES):
        visitor = _BroadHandlers()
        visitor.visit(ast.parse(path.read_text()))
        found += [f"{path.relative_to(ROOT)}: {name}" for name in visitor.found]
    assert sorted(found) == sorted(BROAD_HANDLERS)


def test_nothing_is_pickled() -> None:
    pickles = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    found = []
    for path in sources(*PACKAGES, "bench"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                used = {alias.name.partition(".")[0] for alias in node.names} & pickles
            elif isinstance(node, ast.ImportFrom):
                used = {(node.module or "").partition(".")[0]} & pickles
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                used = {f"{node.value.id}.{node.attr}"} & {"torch.load", "torch.save"}
            elif isinstance(node, ast.keyword):
                used = (
                    {"allow_pickle"}
                    if node.arg == "allow_pickle" and ast.unparse(node.value) != "False"
                    else set()
                )
            else:
                continue
            found += [f"{path.relative_to(ROOT)}: {name}" for name in used]
    assert found == []


@pytest.mark.parametrize(
    "modules",
    [
        ["sapflow_functions.roles.merger", "sapflow_functions.roles.merging"],
        ["sapflow.driver"],
        # Each command is loaded when it is given.
        [f"sapflow.cli.{path.stem}" for path in sorted((ROOT / "sapflow" / "cli").glob("[a-z]*.py"))],
    ],
    ids=["merger", "driver", "commands"],
)
def test_what_must_start_fast_loads_nothing_heavy(modules: list[str]) -> None:
    loaded = fresh(
        f"import sys, {', '.join(modules)}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    ).split()
    assert HEAVY.isdisjoint(loaded)


def test_a_command_loads_no_other_commands() -> None:
    said = fresh("import sys; from sapflow.cli import main; main(['version']); print(*sys.modules)").split()
    assert {name for name in said if name.startswith("sapflow.cli.")} == {
        f"sapflow.cli.{name}" for name in ("output", "stop", "version")
    }


def test_the_operator_reads_records_without_numpy(tmp_path: Path) -> None:
    """It takes ten of the eighty MiB that an idle operator may have."""
    (tmp_path / "record.json").write_text("{}")
    loaded = fresh(
        "import sys, sapflow_operator.main, sapflow_operator.store.objects, sapflow.objects.stores.s3\n"
        "from sapflow.objects.stores.factory import open_store\n"
        f"store = open_store({tmp_path.as_uri()!r})\n"
        "assert bytes(store.read('record.json')) == b'{}'\n"
        "print(*sys.modules)"
    ).split()
    assert "numpy" not in loaded


def test_the_library_needs_no_torch_to_be_installed() -> None:
    needed = {re.split(r"[\[<>=~! ]", line)[0] for line in PYPROJECT["project"]["dependencies"]}
    assert HEAVY.isdisjoint(needed)
    assert not any(
        line.startswith("torch") for line in PYPROJECT["project"]["optional-dependencies"]["merger"]
    )


def test_no_file_names_a_package_registry() -> None:
    found = [f"{path}: {host}" for path, text in texts() for host in REGISTRIES if host in text]
    assert found == []


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    found = [
        f"{path}:{number}: {line.strip()}"
        for path, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if PRIVATE_PATH.search(line) or "/".join(("..", "shared")) in line
    ]
    assert found == []


def test_the_readme_opens_with_the_two_commands() -> None:
    first = re.search(r"^```\w*\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert first is not None
    commands = [line.partition("#")[0].strip() for line in first[1].splitlines() if line.strip()]
    assert commands[-2:] == ["make run", "make test"]


def test_the_version_is_the_same_everywhere() -> None:
    version = PYPROJECT["project"]["version"]
    assert sapflow.__version__ == version
    assert re.search(
        r"^## \[(Unreleased|" + re.escape(version) + r")\]", (ROOT / "CHANGELOG.md").read_text(), re.M
    )


def test_test_files_have_names_of_their_own() -> None:
    names = [path.name for path in sources("tests") if path.name.startswith("test_")]
    assert len(names) == len(set(names))


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = sorted(int(path.name[:4]) for path in (ROOT / "docs" / "adr").glob("[0-9]*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def shell_scripts() -> list[Path]:
    return [
        path for path in files() if path.is_file() and path.read_bytes()[:2] == b"#!" and path.suffix != ".py"
    ]


@pytest.mark.parametrize("path", shell_scripts(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_script_parses_and_may_be_executed(path: Path) -> None:
    shell = path.read_text().splitlines()[0].removeprefix("#!").split()
    subprocess.run([*shell, "-n", str(path)], check=True, timeout=20)
    assert path.stat().st_mode & stat.S_IXUSR


def make_venv(target: Path, path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run tools/make-venv where `path` is the only folder with interpreters."""
    return subprocess.run(
        [shutil.which("sh") or "/bin/sh", str(ROOT / "tools" / "make-venv"), str(target), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={"PATH": str(path)},
        check=False,
    )


def interpreter(folder: Path, name: str, verdict: str) -> None:
    """An executable that answers the question of what it is good for as that Python would."""
    script = folder / name
    script.write_text(f'#!/bin/sh\ncase "$2" in *print*version*) echo 3.11 ;; *) echo {verdict} ;; esac\n')
    script.chmod(0o755)


def test_an_environment_is_not_made_by_a_python_that_is_too_old(tmp_path: Path) -> None:
    interpreter(tmp_path, "python3", "old")
    process = make_venv(tmp_path / "venv", tmp_path)
    assert process.returncode == 1
    assert "Python 3.11 or newer" in process.stderr
    assert not (tmp_path / "venv").exists()


def test_a_python_without_ensurepip_is_answered_with_the_package_to_install(tmp_path: Path) -> None:
    interpreter(tmp_path, "python3", "bare")
    process = make_venv(tmp_path / "venv", tmp_path)
    assert process.returncode == 1
    assert "apt-get install python3.11-venv" in process.stderr


def test_a_machine_without_python_is_told_so(tmp_path: Path) -> None:
    process = make_venv(tmp_path / "venv", tmp_path)
    assert process.returncode == 1
    assert "no python3 was found" in process.stderr


def test_a_newer_python_is_taken_where_python3_is_old(tmp_path: Path) -> None:
    interpreter(tmp_path, "python3", "old")
    (tmp_path / "python3.12").symlink_to(sys.executable)
    process = make_venv(tmp_path / "venv", tmp_path)
    # The link is a real interpreter, so it makes a real environment or says what it lacks.
    if importlib.util.find_spec("ensurepip") is None:
        assert "no ensurepip" in process.stderr
    else:
        assert (tmp_path / "venv" / "bin" / "python").exists()
