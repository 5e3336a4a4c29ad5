"""Computes versions of a job again on this machine, and compares them with what its commits recorded."""

import shlex
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sapflow.client import consent, importable
from sapflow.client.background import run_apart
from sapflow.client.session import Session, store_variables
from sapflow.driver.replay import Replay
from sapflow.driver.verification import State, Verification, Verified
from sapflow.errors import DataError
from sapflow.objects.stores.directory import DirectoryStore
from sapflow.objects.stores.overlay import OverlayStore
from sapflow.records.commits import Commit, Records
from sapflow.records.numerics import FIRST, NUMERICS
from sapflow.runtimes.embedded.runtime import EmbeddedRuntime
from sapflow.runtimes.sender import Sender

_FOLDER = "sapflow-verify-"
_CREDENTIALS = ("-e", "SAPFLOW_S3_ACCESS_KEY", "-e", "SAPFLOW_S3_SECRET_KEY")


@dataclass(frozen=True)
class VerifiedJob:
    """What came of computing versions of a job again."""

    job: str
    """The job's uid."""
    versions: tuple[Verified, ...]
    warnings: Mapping[str, int]
    """What they were computed by and this machine has not, with the number of versions of which it is so."""
    remedy: str | None
    """Where versions differ and were computed elsewhere: why that need not be the job's fault, and how to tell."""

    def count(self, state: State) -> int:
        """How many versions are in this state."""
        return sum(each.state == state for each in self.versions)

    @property
    def same(self) -> bool:
        """Whether something was compared, and all that was is the same."""
        return bool(self.count("Same")) and not self.count("Differs")

    def to_json(self) -> dict[str, Any]:
        found = {
            "job": self.job,
            "same": self.count("Same"),
            "differs": self.count("Differs"),
            "notCompared": self.count("NotCompared"),
            "warnings": dict(self.warnings),
            "remedy": self.remedy,
            "versions": [
                {"version": each.version, "state": each.state}
                | ({"objects": list(each.objects)} if each.objects else {})
                | ({"note": each.note} if each.note else {})
                for each in self.versions
            ],
        }
        return {name: value for name, value in found.items() if value is not None}


Told = Callable[[Verified | None, list[str]], None]
"""Is told each version once it is known, None before the first, and the warnings that are new with it."""


def versions_in(text: str | None, last: int, first: int) -> list[int]:
    """The versions of `a..b`, `a..`, `..b` or `a`: by default all that the job has computed. Raises DataError."""
    begin, dots, end = (text or "..").partition("..")
    try:
        low = int(begin) if begin else first
        high = (int(end) if end else last) if dots else low
    except ValueError:
        raise DataError(f"versions {text!r}: give two versions, as 10..20, or one") from None
    if not 0 <= low <= high <= last:
        raise DataError(
            f"versions {text!r}: the job has versions {first} to {last}, and the first comes first"
        )
    return list(range(low, high + 1))


async def verify(
    opened: Session,
    asked: str | None,
    environ: Mapping[str, str],
    allowed: Iterable[str],
    *,
    max_instances: int | None = None,
    told: Told = lambda verified, warnings: None,
) -> VerifiedJob:
    """Compute versions of the session's job again, each from the one before it, and compare their objects.

    `asked` is `a..b`, one version, or None for all. What is computed goes into a folder that is removed at the end,
    below $TMPDIR; nothing is written into the job's store. `allowed` are the entrypoints that the user consents to.
    Raises DataError, JobFailed, StoreError.
    """
    records = Records(opened.store, opened.prefix)
    first, last = await _extent(opened, records)
    versions = versions_in(asked, last.version, 0 if first.origin is None else first.first_version + 1)
    warned, found = Counter(_of_the_job(first)), list[Verified]()
    told(None, [*warned])
    images = dict[str, str]()
    async for each in computed(opened, versions, environ, allowed, max_instances=max_instances):
        commit = await records.commit(each.version)
        images |= (commit.measured.images if commit is not None else None) or {}
        warnings = [*each.elsewhere, *([] if commit is None else _of_images(commit))]
        told(each, [warning for warning in warnings if warning not in warned])
        warned.update(warnings)
        found.append(each)
    parted = any(each.parted for each in found)
    remedy = _remedy(opened, asked, images.get("worker")) if parted and warned else None
    return VerifiedJob(opened.uid, tuple(found), warned, remedy)


def by_program(
    opened: Session,
    versions: str | int | None,
    entrypoint: str | Iterable[str] | None,
    max_instances: int | None,
) -> VerifiedJob:
    """`verify` for a program: the job's own code is imported from where the program finds it."""
    environ = importable.of_program(opened.job.spec.model, importable.modules_folder(opened.url))
    asked = None if versions is None else str(versions)
    allowed = consent.given_as(entrypoint)
    return run_apart(verify(opened, asked, environ, allowed, max_instances=max_instances))


async def computed(
    opened: Session,
    versions: Iterable[int],
    environ: Mapping[str, str],
    allowed: Iterable[str],
    *,
    max_instances: int | None = None,
) -> AsyncIterator[Verified]:
    """Yields each version once it is computed and compared; otherwise as `verify`."""
    model = opened.job.spec.model
    if missing := consent.lacking(model, allowed):
        raise DataError(
            f"job {opened.uid} names code of its own ({', '.join(missing)}), which would be imported and called: if "
            f"you trust it, consent with {consent.in_words(missing)}; its module must be importable"
        )
    with tempfile.TemporaryDirectory(prefix=_FOLDER, dir=environ.get("TMPDIR")) as folder:
        store = OverlayStore(DirectoryStore(str(Path(folder) / "store")), opened.store)

        @asynccontextmanager
        async def replays() -> AsyncIterator[Replay]:
            runtime = _runtime(opened, store.url, environ, max_instances)
            try:
                yield Replay(opened.resolved, store, runtime)
            finally:
                await runtime.close()

        verification = Verification(store, opened.prefix, replays, staleness(opened))
        async for each in verification.run(list(versions)):
            yield each


def staleness(opened: Session) -> int:
    """How many commits old a version may be that a contribution is computed on, beside the one before."""
    algorithm = opened.job.spec.algorithm
    if not algorithm.facts.counts_ranks:
        return 0
    return opened.job.spec.workers if algorithm.max_staleness is None else algorithm.max_staleness


def _runtime(opened: Session, url: str, environ: Mapping[str, str], max_instances: int | None) -> Sender:
    variables, threads = store_variables(environ), opened.job.spec.threads
    return EmbeddedRuntime(url, variables, threads=threads, max_instances=max_instances, environ=environ)


async def _extent(opened: Session, records: Records) -> tuple[Commit, Commit]:
    """Commit 0 and the last commit. Raises DataError if nothing is trained."""
    first, last = await records.commit(0), await records.last()
    if first is None or last is None:
        raise DataError(f"job {opened.uid} has no version yet: there is nothing to verify")
    return first, last


def _of_the_job(first: Commit) -> list[str]:
    """What the whole job was computed by and this machine has not."""
    begun = FIRST if first.numerics is None else first.numerics
    if begun == NUMERICS:
        return []
    return [
        f"computed under numerics {begun}, and this release computes under {NUMERICS}: other bits are expected; verify "
        "the job with the release that began it"
    ]


def _of_images(commit: Commit) -> list[str]:
    """The images that a version was computed by: this machine's libraries may differ in what no version tells."""
    return [
        f"computed by the {role} image {image}, and here by the Sapflow that is installed"
        for role, image in sorted((commit.measured.images or {}).items())
    ]


def _remedy(opened: Session, asked: str | None, image: str | None) -> str:
    """How to tell whether versions differ by the job's fault, or because other libraries or another CPU give other
    bits. `image` is the one that workers of the job had, if they had one."""
    said = (
        "the versions were computed elsewhere, by what the warnings name, and other libraries and CPUs give other bits "
        "without any fault: this difference alone says nothing of the job. To tell, compute them again by the same"
    )
    if image is None:
        return f"{said} versions of libraries, on a CPU of the same kind"
    url = opened.store.url
    folder = unquote(urlsplit(url).path) if url.startswith("file:") else None
    reached = [*_CREDENTIALS] if folder is None else ["-v", f"{folder}:{folder}:ro"]
    words = ["docker", "run", "--rm", "--network", "host", *reached, "--entrypoint", "python3", image]
    words += [
        "-m",
        "sapflow",
        "verify",
        opened.uid,
        *(["--versions", asked] if asked else []),
        "--store",
        url,
    ]
    words += [word for each in opened.job.spec.model.code for word in ("--entrypoint", each)]
    return f"{said} image, on a CPU of the same kind: {shlex.join(words)}"
