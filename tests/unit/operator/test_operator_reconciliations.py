"""However often a job changes while it is looked at, one look afterwards sees it all."""

import asyncio
from typing import Any

import pytest
from helpers.operator_settings import SETTINGS

from sapflow.kube.errors import ClusterError
from sapflow_operator import resource_controller as module
from sapflow_operator.api.cluster import Cluster
from sapflow_operator.controller import Controller
from sapflow_operator.kinds.training_job import TRAINING_JOB


class SlowCluster(Cluster):
    """Has no job, and answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.answers = asyncio.Event()
        self.refusals = 0
        self.at_once = self.most_at_once = 0

    async def get(self, kind: str, namespace: str | None, name: str) -> dict[str, Any] | None:
        self.asked += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.answers.wait()
            await asyncio.sleep(0)
        finally:
            self.at_once -= 1
        if self.refusals:
            self.refusals -= 1
            raise ClusterError("not now", 500)
        return None


async def until_idle(controller: Controller) -> None:
    while controller._looking:
        await asyncio.sleep(0)


def reconciliations_of(changes: int, refusals: int = 0) -> int:
    """Looks at a job that changes so often during the first one, which goes on, or is refused."""

    async def scenario() -> int:
        cluster = SlowCluster()
        cluster.refusals = refusals
        controller = Controller(SETTINGS, cluster, TRAINING_JOB)
        controller.touch("team", "a")
        while not cluster.asked:
            await asyncio.sleep(0)
        for _ in range(changes):
            controller.touch("team", "a")
            await asyncio.sleep(2 * module.SETTLE_SECONDS)
        assert cluster.asked == 1
        cluster.answers.set()
        await until_idle(controller)
        return cluster.asked

    return asyncio.run(scenario())


def test_changes_during_a_reconciliation_ask_for_one_more() -> None:
    assert reconciliations_of(changes=4) == 2


def test_a_reconciliation_that_began_after_a_change_saves_the_changes_own() -> None:
    async def scenario() -> tuple[int, str]:
        cluster = SlowCluster()
        controller = Controller(SETTINGS, cluster, TRAINING_JOB)
        cluster.answers.set()
        controller.touch("team", "a")
        outcome = await controller.reconcile("team", "a")
        await until_idle(controller)
        return cluster.asked, outcome

    assert asyncio.run(scenario()) == (1, "ok")


def test_a_reconciliation_that_fails_is_followed_by_those_that_wait() -> None:
    assert reconciliations_of(changes=1, refusals=1) == 2


def test_a_reconciliation_that_fails_is_followed_by_another_whoever_asked_for_it() -> None:
    async def scenario() -> tuple[bool, bool]:
        cluster = SlowCluster()
        controller = Controller(SETTINGS, cluster, TRAINING_JOB)
        cluster.answers.set()
        alarmed = []
        for _ in range(2):
            cluster.refusals = 1
            with pytest.raises(ClusterError):
                await controller.reconcile("team", "a")
            alarmed.append(("team", "a") in controller._alarms)
            await controller.stop()
            controller._alarms.clear()
        return alarmed[0], alarmed[1]

    assert asyncio.run(scenario()) == (True, False)


def test_one_reconciliation_at_a_time_also_of_a_job_that_is_gone() -> None:
    async def scenario() -> tuple[int, int]:
        cluster = SlowCluster()
        cluster.answers.set()
        controller = Controller(SETTINGS, cluster, TRAINING_JOB)

        async def first_then_another() -> None:
            await controller.reconcile("team", "a")
            # The second, which waited, may begin now, and has not yet.
            await controller.reconcile("team", "a")

        await asyncio.gather(first_then_another(), controller.reconcile("team", "a"))
        return cluster.asked, cluster.most_at_once

    assert asyncio.run(scenario()) == (3, 1)


def test_no_lock_is_left_when_the_reconciliations_are_over() -> None:
    async def scenario() -> int:
        cluster = SlowCluster()
        cluster.answers.set()
        controller = Controller(SETTINGS, cluster, TRAINING_JOB)
        await asyncio.gather(*(controller.reconcile("team", name) for name in "abc"))
        return len(controller._locks)

    assert asyncio.run(scenario()) == 0
