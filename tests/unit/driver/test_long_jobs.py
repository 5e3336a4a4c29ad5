"""The end of a long job: what a driver keeps in memory does not grow with the number of versions."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sapflow.driver import result
from sapflow.messages.vectors import Part, Sizes
from sapflow.objects import keys
from sapflow.records.commits import Account, Commit, LevelUsage, Measured

MIB = 1 << 20
SIZES = Sizes(parameters=1000, averaged=0, block=1000)


def commit(version: int) -> Commit:
    usage = LevelUsage(calls=4, seconds=0.5 + version, slowest=0.2, phases={"compute": 0.1, "read": 0.2})
    return Commit(
        version=version,
        id="0123456789abcdef",
        previous="0123456789abcdef",
        plan="0123456789abcdef",
        sizes=SIZES,
        slots=["momentum"],
        params=[Part(key=f"jobs/j/params/{version}", start=0, stop=1000)],
        optimizer=[Part(key=f"jobs/j/optimizer/{version}", start=0, stop=1000)],
        account=Account(seconds=float(version), cost_usd=0.001 * version, invocations=7 * version),
        measured=Measured(loss=1 / (version + 1), seconds=0.25, phases={"compute": 0.3}, levels=[usage] * 3),
    )


class Job:
    """A store of a job with so many versions, every tenth of them evaluated; what is written is counted."""

    def __init__(self, versions: int) -> None:
        self.last = versions
        self.written: dict[str, int] = {}
        self.lines: list[dict[str, Any]] = []
        self.most = 0
        self._template = commit(1)

    async def commit(self, version: int) -> Commit | None:
        measured = self._template.measured.model_copy(update={"loss": float(version)})
        return self._template.model_copy(update={"version": version, "measured": measured})

    def create(self, key: str, parts: Sequence[int], *, durable: bool = False) -> bool:
        text = bytes(parts)
        self.most = max(self.most, resident())
        self.written[key] = text.count(b"\n")
        self.lines += [json.loads(text.partition(b"\n")[0]), json.loads(text[:-1].rpartition(b"\n")[2])]
        return True

    def due(self, version: int, *, final: bool = False) -> bool:
        return final or version % 10 == 0

    async def metrics_of(self, version: int) -> dict[str, float]:
        return {"loss": 0.5, "accuracy": 0.25}

    def write(self) -> None:
        context = SimpleNamespace(uid="j", prefix="jobs/j/", records=self, store=self)
        chosen = self._template.model_copy(update={"version": self.last})
        asyncio.run(result._write_metrics(context, self, chosen))  # type: ignore[arg-type]


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_lines_of_200_000_versions_are_written_in_bounded_memory() -> None:
    Job(2 * result.LINES).write()
    job, before = Job(200_000), resident()
    job.write()
    assert sum(job.written.values()) == 200_000
    assert job.most - before < 64 * MIB


def test_lines_of_a_long_job_are_cut_into_parts_of_consecutive_versions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(result, "LINES", 40)
    job = Job(101)
    job.write()
    names = [keys.result("jobs/j/", name) for name in ("metrics.jsonl", "metrics-1.jsonl", "metrics-2.jsonl")]
    assert job.written == dict(zip(names, (40, 40, 21), strict=True))
    assert [line["version"] for line in job.lines] == [1, 40, 41, 80, 81, 101]
    assert ["validationAccuracy" in line for line in job.lines] == [False, True, False, True, False, True]
