"""The SHA-256 of the final weights of short jobs, by today's code and by a commit's: `tools/bits`.

tests/bits/jobs holds the jobs, tests/bits/table.json what their weights were at the commit that it names. A row of the
table is one machine's: other versions of torch and numpy, another BLAS and another CPU sum in another order.

    tools/bits                      today's weights beside this machine's row; exit code 1 where any differ
    tools/bits --record             make or replace this machine's row, by the code of the commit, never today's
    tools/bits --against COMMIT     today's weights beside those of another commit's code, run here and now
    tools/bits --record --against COMMIT    take that commit from now on; rows of the one before go

Each job is a `python -m sapflow run` of its own, so any commit that knows the spec's fields can run them.
"""

import argparse
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "tests/bits/table.json"
JOBS = {path.stem: path for path in sorted((ROOT / "tests/bits/jobs").glob("*.yaml"))}
SECONDS = 170.0
"""A job takes six; on a machine under load a process may take a minute to start."""
_SETTINGS = ("MKL_CBWR", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Variables that choose code paths of torch's libraries, and that its version and capability do not show."""

Key = dict[str, str]


class CommitMissing(Exception):
    """A commit that this clone does not have, or no clone at all."""


@dataclass
class Table:
    """The commit that rows were recorded by, and the rows: SHA-256 by name of the job, by machine's key."""

    commit: str
    rows: list[tuple[Key, dict[str, str]]] = field(default_factory=list)

    @classmethod
    def load(cls) -> "Table":
        body = json.loads(TABLE.read_text())
        return cls(body["commit"], [(row["key"], row["sha256"]) for row in body["rows"]])

    def save(self) -> None:
        rows = [{"key": key, "sha256": row} for key, row in self.rows]
        TABLE.write_text(json.dumps({"commit": self.commit, "rows": rows}, indent=2) + "\n")

    def row(self, key: Key) -> dict[str, str]:
        """What was recorded on such a machine; empty where nothing was."""
        return next((row for each, row in self.rows if each == key), {})

    def put(self, key: Key, row: dict[str, str]) -> None:
        """A row, in place of the key's own."""
        self.rows = [(each, other) for each, other in self.rows if each != key] + [(key, row)]


def machine_key() -> Key:
    """What decides how this machine rounds: torch, numpy, the BLAS of each, and what the CPU offers them.

    It is found by a process of its own: other tests of this one may have loaded libraries with a BLAS of theirs.
    """
    code = "import json; from helpers import bits; print(json.dumps(bits.key_of_this_process()))"
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True, timeout=120
    )
    key: Key = json.loads(done.stdout.splitlines()[-1])
    return key


def key_of_this_process() -> Key:
    """The key, by what this process has loaded."""
    import numpy as np
    import threadpoolctl  # type: ignore[import-untyped]
    import torch

    built = torch.__config__.show()
    libraries = [
        f"{name} {found[1]}"
        for name, pattern in (("mkl", r"Math Kernel Library Version (\S+)"), ("onednn", r"MKL-DNN v(\S+)"))
        if (found := re.search(pattern, built))
    ] or re.findall(r"BLAS_INFO=(\w+)", built)
    libraries += [
        f"{pool['internal_api']} {pool['version']} {pool.get('architecture', '')}".rstrip()
        for pool in threadpoolctl.threadpool_info()
        if pool["user_api"] == "blas"
    ]
    libraries += [f"{name}={os.environ[name]}" for name in _SETTINGS if name in os.environ]
    simd: Any = np.show_config(mode="dicts")
    cpu = [
        *(platform.machine(), _vendor()),
        f"torch {torch.backends.cpu.get_cpu_capability()}",
        "numpy " + " ".join(simd["SIMD Extensions"].get("found", ["baseline"])[-1:]),
    ]
    return {
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "blas": ", ".join(libraries),
        "cpu": ", ".join(cpu),
    }


def _vendor() -> str:
    """Who made the CPU: MKL chooses by that too."""
    path = Path("/proc/cpuinfo")
    text = path.read_text() if path.exists() else ""
    found = re.search(r"^(?:vendor_id|CPU implementer)\s*: (\S+)", text, re.MULTILINE)
    return found[1] if found else platform.processor()


def digest(path: Path) -> str:
    """SHA-256 of names, types, shapes and bytes of a safetensors file's tensors, its metadata left out."""
    from safetensors.numpy import load_file

    total = hashlib.sha256()
    for name, tensor in sorted(load_file(path).items()):
        total.update(json.dumps([name, tensor.dtype.str, tensor.shape]).encode())
        total.update(tensor.tobytes())
    return total.hexdigest()


@dataclass(frozen=True)
class Outcome:
    """The weights of a job, and the invocations that it took, repeated and hedged ones left out."""

    sha256: str
    calls: int


@dataclass(frozen=True)
class Code:
    """Sapflow's code at `root`, run by this interpreter whatever is installed in it."""

    root: Path

    def __post_init__(self) -> None:
        """Raises RuntimeError where other code would run."""
        names = "sapflow", "sapflow_functions"
        with TemporaryDirectory() as folder:
            probe = f"import {', '.join(names)}; print({', '.join(f'{name}.__file__' for name in names)}, sep='\\n')"
            found = self._python("-c", probe, folder=Path(folder)).splitlines()
        if len(found) != 2 or not all(Path(path).is_relative_to(self.root) for path in found):
            raise RuntimeError(f"{self.root} was to run, not {found}")

    def run(self, name: str, folder: Path) -> Outcome:
        """Train a job of JOBS, with all that it leaves in `folder`, which is made. Raises RuntimeError: it failed."""
        folder.mkdir(parents=True)
        arguments = ("--store", str(folder / "store"), "--max-instances", "1", "--json", "--quiet")
        body = json.loads(self._python("-m", "sapflow", "run", str(JOBS[name]), *arguments, folder=folder))
        account = body["account"]
        calls = account["invocations"] - account["retries"] - account["hedges"]
        return Outcome(digest(Path(body["path"])), calls)

    def row(self, folder: Path) -> dict[str, str]:
        """SHA-256 by name of all jobs, as many at once as there are cores."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            outcomes = pool.map(lambda name: self.run(name, folder / name), JOBS)
            return {name: outcome.sha256 for name, outcome in zip(JOBS, outcomes, strict=True)}

    def _python(self, *arguments: str, folder: Path) -> str:
        """What a process of this interpreter prints. It works in `folder`: `-m` would look there first."""
        paths = (self.root, self.root / "functions", self.root / "operator")
        done = subprocess.run(
            [sys.executable, *arguments],
            # Temporary files of its own: other runs sweep the common folder, where older code renders images.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "TMPDIR": str(folder)},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(
                f"{arguments} by {self.root}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done.stdout


@contextmanager
def code_of(commit: str) -> Iterator[Code]:
    """The code of a commit of this clone, in a folder that goes again. Raises CommitMissing."""
    archive = _git("archive", commit)
    with TemporaryDirectory(prefix="sapflow-bits-") as folder:
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True, timeout=60)
        yield Code(Path(folder).resolve())


def _git(*arguments: str) -> bytes:
    try:
        return subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, timeout=60, check=True
        ).stdout
    except FileNotFoundError as error:
        raise CommitMissing("there is no git") from error
    except subprocess.CalledProcessError as error:
        raise CommitMissing(error.stderr.decode(errors="replace").strip()) from error


def _print(mine: Mapping[str, str], theirs: Mapping[str, str], title: str) -> int:
    """Two rows side by side; how many of today's weights are others."""
    width = max(map(len, JOBS))
    print(f"{'':{width}}  {'today':16}  {title}")
    differing = 0
    for name in JOBS:
        there = theirs.get(name)
        verdict = (
            "not recorded"
            if there is None
            else there[:16]
            if there == mine[name]
            else f"{there[:16]}  DIFFERS"
        )
        differing += there is not None and there != mine[name]
        print(f"{name:{width}}  {mine[name][:16]}  {verdict}")
    return differing


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="tools/bits", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", action="store_true", help="make this machine's row by the commit's code")
    parser.add_argument("--against", metavar="COMMIT", help="default: the table's")
    given = parser.parse_args(arguments)
    table, key = Table.load(), machine_key()
    print("".join(f"{name:6} {value}\n" for name, value in key.items()))
    try:
        commit = (
            _git("rev-parse", "--verify", f"{given.against}^{{commit}}").decode().strip()
            if given.against
            else ""
        )
        with TemporaryDirectory(prefix="sapflow-bits-") as folder:
            theirs = table.row(key)
            if given.record or given.against:
                with code_of(commit or table.commit) as code:
                    theirs = code.row(Path(folder, "theirs"))
            if given.record:
                if commit not in ("", table.commit):
                    table = Table(commit)
                table.put(key, theirs)
                table.save()
            mine = Code(ROOT).row(Path(folder, "mine"))
    except CommitMissing as error:
        print(f"The code of {given.against or table.commit} is not to be had: {error}", file=sys.stderr)
        return 2
    return 1 if _print(mine, theirs, (commit or table.commit)[:12]) else 0


if __name__ == "__main__":
    sys.exit(main())
