"""Says which shared area a job's data belongs in, and has the store and the job's status say it, too."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sapflow.data.shared_data import SharedData
from sapflow.errors import SpecError
from sapflow.objects.stores.credentials import Credentials
from sapflow_operator.actions import LeaveSharedData
from sapflow_operator.api.cluster import Cluster
from sapflow_operator.errors import SharedDataGone
from sapflow_operator.kind import Kind
from sapflow_operator.observed import JobObject, Observed
from sapflow_operator.settings import Settings
from sapflow_operator.store import shared_data
from sapflow_operator.store.owners import owner_of
from sapflow_operator.store.policy import SharedGrant
from sapflow_operator.wanted import Wanted


class Sharing:
    """The use of shared areas by the jobs of one kind."""

    def __init__(self, settings: Settings, cluster: Cluster, kind: Kind[Any]) -> None:
        self._settings, self._cluster, self._kind = settings, cluster, kind

    def undecided(self, job: JobObject, observed: Observed) -> bool:
        """Whether it is to be decided now where the data of an admitted job lies: nothing has been made for it yet, and
        nothing is in its way."""
        begun = observed.pool(job.pool) is not None or bool(observed.strangers)
        return not job.suspended and not begun and self._kind.shares(job)

    async def decide(self, job: JobObject) -> tuple[JobObject, SharedData | None]:
        """Decide where the data of a job lies that is about to start: the job, whose status says it, and its area.

        The status is written before the store says that the job uses an area: who uses an area is always known. Raises
        SapflowError.
        """
        try:
            wanted = self._kind.wanted(job, job.status, self._settings)
        except SpecError:
            return job, None  # which the reconciler says
        owner = await owner_of(wanted.place, job.namespace, self._cluster, self._settings)
        found = await asyncio.to_thread(shared_data.decide, wanted, owner)
        if found is None:
            return job, None
        status = {**job.status, "sharedData": {"digest": found.area.digest}}
        ours = {name: value for name, value in status.items() if name != "progress"}
        await self._cluster.apply_status(job, ours)
        return replace(job, status=status), found

    async def use(self, job: JobObject, shared: SharedData) -> None:
        """Make a job a user of its area, before it gets credentials for it. Raises StoreError."""
        place, _ = self._kind.place_and_policy(job, self._settings)
        owner = await owner_of(place, job.namespace, self._cluster, self._settings)
        await asyncio.to_thread(shared_data.use, place, owner, shared, job.uid)

    async def grant(self, job: JobObject, wanted: Wanted, owner: Credentials) -> SharedGrant | None:
        """What a job may do in its area, whose user it is from now on. Raises SharedDataGone, StoreError."""
        if wanted.area is None:
            return None
        shared = await asyncio.to_thread(shared_data.grant, wanted, owner)
        if shared is None and "startTime" not in job.status:
            await asyncio.to_thread(shared_data.leave, wanted.place, owner, wanted.uid, wanted.area)
            raise SharedDataGone(
                "the data that other jobs had cut is gone with the last of them: the job cuts its own"
            )
        return shared or SharedGrant(wanted.area)

    async def leave(self, action: LeaveSharedData, namespace: str) -> None:
        """End a job's use of its area. Raises StoreError, SecretUnusable."""
        owner = await owner_of(action.place, namespace, self._cluster, self._settings)
        await asyncio.to_thread(shared_data.leave, action.place, owner, action.uid, action.digest)


def without_area(job: JobObject) -> JobObject:
    """The job, for which it is to be decided again where its data lies."""
    status: Mapping[str, Any] = {name: value for name, value in job.status.items() if name != "sharedData"}
    return replace(job, status=status)
