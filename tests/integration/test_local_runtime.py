"""The embedded runtime with real function processes: pool, limits, faults, clean-up."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from function_process import COMMAND, make_mark

from sapflow.errors import InstanceLost, InvocationError, InvocationTimeout, OutOfMemory
from sapflow.quantities.roles import Role
from sapflow.runtimes.embedded.memory_limit import on_tmpfs
from sapflow.runtimes.embedded.runtime import EmbeddedRuntime, InstanceInfo

COMMANDS: dict[Role, list[str]] = {"worker": [*COMMAND, "worker"], "merger": [*COMMAND, "merger"]}
MIB = 2**20
SHARED = Path("/dev/shm")


class Watched:
    """A runtime whose every change is recorded and can be waited for."""

    def __init__(self, store: Path, **settings: Any) -> None:
        self.most_at_work = 0
        self._changed = asyncio.Event()
        settings = {"commands": COMMANDS, "max_instances": 2, **settings}
        self.runtime = EmbeddedRuntime(str(store), on_change=self._change, **settings)

    def _change(self) -> None:
        states = [info.state for info in self.runtime.instances()]
        self.most_at_work = max(self.most_at_work, sum(state in ("starting", "busy") for state in states))
        self._changed.set()

    async def invoke(self, role: Role = "worker", seconds: float = 30, **request: Any) -> dict[str, Any]:
        return (await self.runtime.invoke(role, request, seconds=seconds)).body

    async def until(self, condition: Callable[[list[InstanceInfo]], bool]) -> None:
        """Wait for a state of the instances."""
        async with asyncio.timeout(60):
            while not condition(self.runtime.instances()):
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def watched(store: Path, **settings: Any) -> AsyncIterator[Watched]:
    one = Watched(store, **settings)
    try:
        yield one
    finally:
        await one.runtime.close()


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_reuses_a_warm_instance_and_tells_cold_from_warm(tmp_path: Path) -> None:
    async def test() -> None:
        async with watched(tmp_path) as one:
            first = await one.runtime.invoke("worker", {"op": "noop"}, seconds=30)
            second = await one.runtime.invoke("worker", {"op": "noop"}, seconds=30)
            assert first.body == second.body
            assert first.cold_seconds > 0
            assert second.cold_seconds == 0
            info = one.runtime.instances()
            assert [(i.role, i.index, i.pid, i.state, i.calls) for i in info] == [
                ("worker", 0, first.body["pid"], "warm", 2)
            ]
            assert info[0].rss > 10 * MIB

    run(test())


def test_runs_at_most_so_many_calls_at_once_over_all_roles_in_at_most_so_many_processes(
    tmp_path: Path,
) -> None:
    async def test() -> None:
        async with watched(tmp_path, max_instances=2) as one:
            roles: list[Role] = ["worker", "merger"] * 8
            answers = await asyncio.gather(
                *(one.runtime.invoke(role, {"op": "wait", "duration": 0.01}, seconds=30) for role in roles)
            )
            assert one.most_at_work == 2
            for role in ("worker", "merger"):
                pids = {a.body["pid"] for a, r in zip(answers, roles, strict=True) if r == role}
                assert 1 <= len(pids) <= 2
            assert max(answer.queue_seconds for answer in answers) > 0

    run(test())


def test_starts_no_second_process_while_one_is_idle(tmp_path: Path) -> None:
    async def test() -> None:
        async with watched(tmp_path, max_instances=2) as one:
            for _ in range(5):
                await one.invoke(op="noop")
            assert len(one.runtime.instances()) == 1

    run(test())


def test_merge_calls_go_before_workers_that_wait_longer(tmp_path: Path) -> None:
    async def test() -> None:
        async with watched(tmp_path, max_instances=1) as one:
            mark = make_mark(tmp_path)
            order: list[str] = []

            async def call(name: str, role: Role) -> None:
                await one.invoke(role, op="noop")
                order.append(name)

            at_work = asyncio.create_task(one.invoke(op="wait", mark=str(mark)))
            await asyncio.to_thread(mark.read_text)
            async with asyncio.TaskGroup() as group:
                for name in ("w1", "w2", "m1", "m2"):
                    group.create_task(call(name, "merger" if name.startswith("m") else "worker"))
                await asyncio.sleep(0)
                at_work.cancel()
            assert order == ["m1", "m2", "w1", "w2"]

    run(test())


def test_stops_an_instance_that_idles(tmp_path: Path) -> None:
    async def test() -> None:
        async with watched(tmp_path, idle_seconds=0.05) as one:
            pid = (await one.invoke(op="noop"))["pid"]
            await one.until(lambda infos: not infos)
            assert not exists(pid)
            assert (await one.invoke(op="noop"))["pid"] != pid

    run(test())


def test_a_function_gets_token_credentials_and_threads_and_nothing_else_of_ours(tmp_path: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": "/tmp", "AWS_SECRET_ACCESS_KEY": "ours"}

    async def test() -> None:
        keys = {"SAPFLOW_S3_ACCESS_KEY": "id", "SAPFLOW_S3_SECRET_KEY": "key"}
        async with watched(tmp_path, credentials_env=keys, threads=3, environ=environ) as one:
            seen = (await one.invoke(op="environment"))["environ"]
        assert len(seen.pop("SAPFLOW_TOKEN")) >= 32
        # Set by the interpreter and by pydantic's import, not by us.
        seen.pop("LC_CTYPE", None)
        assert seen == {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": "/tmp",
            "SAPFLOW_STORE": str(tmp_path),
            "SAPFLOW_LOG_LEVEL": "WARNING",
            "PYTHONHASHSEED": "0",
            "OMP_NUM_THREADS": "3",
            "OPENBLAS_NUM_THREADS": "3",
            "MKL_NUM_THREADS": "3",
            **keys,
        }

    run(test())


def test_kills_a_call_at_its_time_limit(tmp_path: Path) -> None:
    async def test() -> None:
        async with watched(tmp_path, max_instances=1) as one:
            pid = (await one.invoke(op="noop"))["pid"]
            with pytest.raises(InvocationTimeout, match=r"deaf version 4: no answer within 0\.1 s") as caught:
                await one.runtime.invoke("worker", {"op": "deaf", "version": 4, "duration": 60}, seconds=0.1)
            assert caught.value.retryable
            await one.until(lambda infos: not infos)
            assert not exists(pid)
            assert (await one.invoke(op="noop"))["pid"] != pid

    run(test())


def test_a_cancelled_call_gives_up_its_instance_and_its_place(tmp_path: Path) -> None:
    async def test() -> None:
        async with watched(tmp_path, max_instances=1) as one:
            mark = make_mark(tmp_path)
            call = asyncio.create_task(one.invoke(op="wait", mark=str(mark)))
            pid = int(await asyncio.to_thread(mark.read_text))
            call.cancel()
            assert (await one.invoke(op="noop"))["pid"] != pid
            await one.until(lambda infos: all(info.pid != pid for info in infos))
            assert not exists(pid)

    run(test())


def test_a_call_cancelled_while_its_instance_starts_leaves_no_process(tmp_path: Path) -> None:
    async def test() -> None:
        async with watched(tmp_path, max_instances=1) as one:
            call = asyncio.create_task(one.invoke(op="noop"))
            await one.until(lambda infos: len(infos) == 1)
            pid = one.runtime.instances()[0].pid
            call.cancel()
            await one.until(lambda infos: not infos)
            assert not exists(pid)
            await one.invoke(op="noop")

    run(test())


def test_a_call_cancelled_while_it_waits_for_a_place_costs_nobody_theirs(tmp_path: Path) -> None:
    async def test() -> None:
        async with watched(tmp_path, max_instances=1) as one:
            mark = make_mark(tmp_path)
            first = asyncio.create_task(one.invoke(op="wait", mark=str(mark)))
            await asyncio.to_thread(mark.read_text)
            queued = [asyncio.create_task(one.invoke(op="noop")) for _ in range(3)]
            await asyncio.sleep(0)
            queued[0].cancel()
            first.cancel()
            queued[1].cancel()
            assert "pid" in await queued[2]
            assert "pid" in await one.invoke(op="noop")

    run(test())


@pytest.mark.parametrize(("number", "name"), [(signal.SIGKILL, "SIGKILL"), (signal.SIGSEGV, "SIGSEGV")])
def test_a_death_at_work_is_an_instance_lost_with_its_signal_and_last_words(
    tmp_path: Path, number: int, name: str
) -> None:
    async def test() -> None:
        async with watched(tmp_path) as one:
            with pytest.raises(InstanceLost, match=rf"worker 0 .* ended by {name}: about to crash") as caught:
                await one.invoke(op="crash", signal=number)
            assert caught.value.retryable
            assert one.runtime.instances() == []
            await one.invoke(op="noop")

    run(test())


def test_a_warm_instance_that_dies_is_forgotten(tmp_path: Path) -> None:
    async def test() -> None:
        async with watched(tmp_path) as one:
            pid = (await one.invoke(op="noop"))["pid"]
            os.kill(pid, signal.SIGKILL)
            await one.until(lambda infos: not infos)
            assert (await one.invoke(op="noop"))["pid"] != pid

    run(test())


def test_an_error_that_a_function_answers_comes_through_and_leaves_it_warm(tmp_path: Path) -> None:
    async def test() -> None:
        async with watched(tmp_path) as one:
            with pytest.raises(InvocationError, match="fail version 3 rank 1: it did not fit") as caught:
                await one.invoke(op="fail", error="named", version=3, rank=1)
            assert (caught.value.reason, caught.value.retryable) == ("TooTight", True)
            assert [(info.state, info.calls) for info in one.runtime.instances()] == [("warm", 1)]

    run(test())


def test_an_instance_that_reports_a_failed_allocation_is_not_used_again(tmp_path: Path) -> None:
    async def test() -> None:
        async with watched(tmp_path) as one:
            with pytest.raises(OutOfMemory):
                await one.invoke(op="fail", error="memory")
            await one.until(lambda infos: not infos)

    run(test())


def stores() -> list[Any]:
    """One on disk, where cgroups are used if they may be made, and one in memory, where only the sampler works."""
    usable = SHARED.is_dir() and on_tmpfs(SHARED)
    memory = pytest.param(
        True, marks=pytest.mark.skipif(not usable, reason="no tmpfs at /dev/shm"), id="tmpfs"
    )
    return [pytest.param(False, id="disk"), memory]


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A directory of this test's own on a tmpfs."""
    path = SHARED / f"sapflow-test-{os.getpid()}-{tmp_path.name}"
    path.mkdir()
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize("in_memory", stores())
def test_a_function_over_its_memory_limit_is_killed_and_reported_as_out_of_memory(
    tmp_path: Path, in_memory: bool
) -> None:
    async def test() -> None:
        store = SHARED / "sapflow-no-such-store" if in_memory else tmp_path
        async with watched(store, memory={"worker": 160 * MIB}) as one:
            await one.invoke(op="allocate", bytes=32 * MIB)
            with pytest.raises(OutOfMemory, match="over its limit of 160 MiB") as caught:
                await one.runtime.invoke(
                    "worker", {"op": "allocate", "bytes": 200 * MIB, "duration": 60}, seconds=90
                )
            assert not caught.value.retryable
            await one.invoke("merger", op="allocate", bytes=200 * MIB)
            await one.invoke(op="noop")

    run(test())


def test_memory_that_a_function_maps_from_a_store_is_not_its_own(shared: Path) -> None:
    (shared / "parameters").write_bytes(bytes(200 * MIB))

    async def test() -> None:
        async with watched(shared, memory={"worker": 160 * MIB}) as one:
            request = {"op": "map", "path": str(shared / "parameters"), "duration": 0.3}
            reply = await one.runtime.invoke("worker", request, seconds=30)
            assert reply.body["bytes"] == 200 * MIB
            assert one.runtime.instances()[0].rss > 200 * MIB

    run(test())


def test_a_function_that_cannot_start_is_reported_with_its_last_words(tmp_path: Path) -> None:
    async def test() -> None:
        async with watched(
            tmp_path, environ={}, commands={"worker": [*COMMAND, "worker", "--nonsense"]}
        ) as one:
            with pytest.raises(
                InvocationError, match=r"(?s)exit code 2 before it was ready.*--nonsense"
            ) as caught:
                await one.invoke(op="noop")
            assert (caught.value.reason, caught.value.retryable) == ("StartFailed", False)

    run(test())


def test_a_command_that_does_not_exist_is_reported(tmp_path: Path) -> None:
    async def test() -> None:
        async with watched(tmp_path, commands={"worker": ["/no/such/program"]}) as one:
            with pytest.raises(InvocationError, match="cannot start a worker") as caught:
                await one.invoke(op="noop")
            assert caught.value.reason == "StartFailed"

    run(test())


def test_a_function_killed_while_it_starts_is_an_instance_lost(tmp_path: Path) -> None:
    async def test() -> None:
        async with watched(tmp_path) as one:
            call = asyncio.create_task(one.invoke(op="noop"))
            await one.until(lambda infos: len(infos) == 1)
            os.kill(one.runtime.instances()[0].pid, signal.SIGKILL)
            with pytest.raises(InstanceLost, match="SIGKILL"):
                await call

    run(test())


def test_uses_loopback_where_unix_sockets_do_not_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sapflow.runtimes.embedded.directory.SOCKET_PATH_BYTES", 10)

    async def test() -> None:
        async with watched(tmp_path) as one:
            assert (await one.invoke(op="noop"))["pid"] == one.runtime.instances()[0].pid
            with pytest.raises(InstanceLost):
                await one.invoke(op="crash")

    run(test())


def test_close_ends_calls_and_processes_and_removes_the_directory(tmp_path: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(tmp_path)}

    async def test() -> None:
        one = Watched(tmp_path / "store", environ=environ, max_instances=1)
        mark = make_mark(tmp_path)
        at_work = asyncio.create_task(one.invoke(op="wait", mark=str(mark)))
        pid = int(await asyncio.to_thread(mark.read_text))
        waiting = asyncio.create_task(one.invoke(op="noop"))
        await asyncio.sleep(0)
        await one.runtime.close()
        with pytest.raises(InstanceLost):
            await at_work
        with pytest.raises(InvocationError, match="closed"):
            await waiting
        with pytest.raises(InvocationError, match="closed"):
            await one.invoke(op="noop")
        assert not exists(pid)
        assert list(tmp_path.glob("*sapflow-*")) == []

    run(test())


def test_a_rank_is_called_where_it_was_served_last_if_that_is_free(tmp_path: Path) -> None:
    async def test() -> None:
        async with watched(tmp_path, max_instances=2) as one:

            async def call(rank: int, **more: Any) -> int:
                return int((await one.invoke(op="noop", job="j", rank=rank, **more))["pid"])

            first = dict(enumerate(await asyncio.gather(*(call(rank) for rank in range(4)))))
            # Whichever call comes first, a rank finds its own instance, as long as there is one.
            for ranks in ((0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)):
                for rank in ranks:
                    assert await call(rank) == first[rank]
            # A preference, never a need: another instance serves it where its own is at work or gone.
            busy = asyncio.create_task(one.invoke(op="wait", job="j", rank=0, duration=60))
            await one.until(lambda infos: any(info.state == "busy" for info in infos))
            assert await call(0) != first[0]
            busy.cancel()

    run(test())


def test_ranks_that_wait_go_to_the_instance_that_served_them(tmp_path: Path) -> None:
    async def test() -> None:
        async with watched(tmp_path, max_instances=2) as one:

            async def call(rank: int) -> int:
                return int((await one.invoke(op="noop", job="j", rank=rank))["pid"])

            served = await asyncio.gather(*(call(rank) for rank in range(8)))
            assert len(set(served)) == 2
            moved = 0
            for _ in range(10):
                again = await asyncio.gather(*(call(rank) for rank in range(8)))
                moved += sum(one != other for one, other in zip(served, again, strict=True))
                served = again
            # Without the preference, half of them would move each time; the last of a step may, so that nobody idles.
            assert moved <= 20

    run(test())
