"""Which source files a model or a loss of one's own comes from, and their SHA-256.

They tell whether a job that goes on, or has finished, was trained by the code that is there now. Nothing is imported
or run: modules are found as an import would find them, and their text says what they import in turn.

    python -m sapflow.spec.source_code package.module:factory…     prints them as JSON, as functions would find them
"""

import ast
import functools
import hashlib
import json
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from sapflow.objects import keys

_PACKAGES = ("site-packages", "dist-packages", "lib-dynload")
_SAPFLOW = ("sapflow", "sapflow_functions", "sapflow_operator")


@functools.cache
def of_this_process(entrypoints: tuple[str, ...]) -> dict[str, str]:
    """The SHA-256 of each module's file, by its name: those of the entrypoints, and those that they import from the
    user's own folders.

    It is kept, because a process imports a module once, whatever becomes of its file.
    """
    return digests(entrypoints, sys.path)


def apart(entrypoints: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """What functions with this environment would find, found by a process of its own."""
    process = subprocess.run(
        [sys.executable, "-m", "sapflow.spec.source_code", *entrypoints],
        capture_output=True,
        text=True,
        env=dict(environ),
        check=True,
    )
    found: dict[str, str] = json.loads(process.stdout)
    return found


def fingerprint(modules: Mapping[str, str]) -> str | None:
    """One digest of all modules; None where there are none."""
    return keys.digest(dict(modules), 32) if modules else None


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The modules that differ, in words."""
    words = []
    for name in sorted({*before, *now}):
        if name not in now:
            words.append(f"{name} (gone)")
        elif name not in before:
            words.append(f"{name} (new)")
        elif before[name] != now[name]:
            words.append(f"{name} (changed)")
    return words


def digests(entrypoints: Iterable[str], path: Sequence[str]) -> dict[str, str]:
    """As `of_this_process`, with the folders in which modules are looked for."""
    named = {entrypoint.partition(":")[0] for entrypoint in entrypoints}
    own = {name.partition(".")[0] for name in named}
    found: dict[str, str] = {}
    waiting = sorted(named)
    seen = set(waiting)
    while waiting:
        name = waiting.pop()
        for part in _with_parents(name):
            spec = _find(part, path)
            if spec is None or spec.origin is None or part in found:
                continue
            file = Path(spec.origin)
            if not file.is_file() or not (part.partition(".")[0] in own or _is_users(file)):
                continue
            content = file.read_bytes()
            found[part] = hashlib.sha256(content).hexdigest()
            if file.suffix != ".py":
                continue
            package = part if spec.submodule_search_locations is not None else part.rpartition(".")[0]
            new = [each for each in _imported(content, package) if each not in seen]
            seen.update(new)
            waiting += new
    return dict(sorted(found.items()))


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        yield ".".join(parts[:count])


def _find(name: str, path: Sequence[str]) -> ModuleSpec | None:
    """The place of a module, found without importing its package."""
    folders: Sequence[str] | None = path
    spec = None
    for part in _with_parents(name):
        if folders is None:
            return None
        try:
            spec = PathFinder.find_spec(part, folders)
        except (ImportError, ValueError):
            return None
        if spec is None:
            return None
        folders = spec.submodule_search_locations
    return spec


def _is_users(file: Path) -> bool:
    """Whether a file belongs neither to Python, nor to an installed package, nor to Sapflow."""
    resolved = file.resolve()
    if any(part in _PACKAGES for part in resolved.parts):
        return False
    python = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")}
    sapflow = {Path(folder).resolve() for name in _SAPFLOW for folder in _folders(name)}
    return not any(folder in resolved.parents for folder in python | sapflow)


@functools.cache
def _folders(name: str) -> tuple[str, ...]:
    spec = PathFinder.find_spec(name, sys.path)
    return tuple(spec.submodule_search_locations or ()) if spec is not None else ()


def _imported(content: bytes, package: str) -> Iterator[str]:
    """The names that a module's text imports, absolute; of `from a import b` both a and a.b, which may be a module."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([node.module] if node.module else [])])
            if base:
                yield base
                yield from (f"{base}.{each.name}" for each in node.names if each.name != "*")


if __name__ == "__main__":
    print(json.dumps(digests(sys.argv[1:], sys.path)))
