"""Computes versions of a job again on this machine, and compares them with what its commits recorded."""

import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from sapflow.client import consent
from sapflow.client.session import Session, store_variables
from sapflow.cpu_capability import cpu_capability
from sapflow.driver.replay import Replay
from sapflow.driver.verification import Verification, Verified
from sapflow.errors import DataError
from sapflow.objects.stores.directory import DirectoryStore
from sapflow.objects.stores.overlay import OverlayStore
from sapflow.records.commits import Commit, Records
from sapflow.records.numerics import FIRST, NUMERICS
from sapflow.runtimes.embedded.runtime import EmbeddedRuntime
from sapflow.runtimes.sender import Sender

_FOLDER = "sapflow-verify-"


def versions_in(text: str | None, last: int, first: int) -> list[int]:
    """The versions of `a..b`, `a..`, `..b` or `a`: by default all that the job has computed. Raises DataError."""
    begin, dots, end = (text or "..").partition("..")
    try:
        low = int(begin) if begin else first
        high = (int(end) if end else last) if dots else low
    except ValueError:
        raise DataError(f"--versions {text!r}: give two versions, as 10..20, or one") from None
    if not 0 <= low <= high <= last:
        raise DataError(
            f"--versions {text!r}: the job has versions {first} to {last}, and the first comes first"
        )
    return list(range(low, high + 1))


async def extent(opened: Session) -> tuple[Commit, Commit]:
    """Commit 0 and the last commit. Raises DataError if nothing is trained."""
    records = Records(opened.store, opened.prefix)
    first, last = await records.commit(0), await records.last()
    if first is None or last is None:
        raise DataError(f"job {opened.uid} has no version yet: there is nothing to verify")
    return first, last


async def verify(
    opened: Session,
    versions: Iterable[int],
    environ: Mapping[str, str],
    allowed: Iterable[str],
    *,
    max_instances: int | None = None,
) -> AsyncIterator[Verified]:
    """Compute versions of the session's job again, each from the one before it, and compare their objects.

    What is computed goes into a folder that is removed at the end, below $TMPDIR; nothing is written into the job's
    store. `allowed` are the entrypoints that the user consents to. Raises DataError, JobFailed, StoreError.
    """
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


def first_warnings(first: Commit) -> list[str]:
    """What the whole job was computed with and this machine is not."""
    begun = FIRST if first.numerics is None else first.numerics
    if begun == NUMERICS:
        return []
    return [
        f"the job was computed under numerics {begun}, and this release computes under {NUMERICS}: other bits are "
        "expected; verify it with the release that began it"
    ]


def warnings(commit: Commit) -> list[str]:
    """What a version was computed with and this machine is not."""
    found, here = [], cpu_capability()
    cpus = commit.measured.cpus
    if cpus is not None and cpus != [here]:
        found.append(f"computed on {', '.join(cpus)}, and this machine is {here}: bits may differ")
    for role, image in sorted((commit.measured.images or {}).items()):
        found.append(f"computed by the {role} image {image}, and here by the Sapflow that is installed")
    return found
