"""Finds what a job or a search begins with of another one of its namespace: a version, a trial's parameters, or an
earlier search's results.

What is found goes into `status.origin`, and the credentials allow reading exactly that.
"""

import asyncio
from datetime import UTC, datetime
from typing import Any

from sapflow.errors import SpecError
from sapflow.objects.stores.credentials import Credentials
from sapflow.spec.tuning_document import parse
from sapflow_operator.api.cluster import Cluster
from sapflow_operator.conditions import Conditions
from sapflow_operator.errors import OriginUnusable
from sapflow_operator.kind import Kind
from sapflow_operator.kinds.registry import KINDS
from sapflow_operator.names import TUNING_JOB
from sapflow_operator.observed import JobObject
from sapflow_operator.origin import Origin, OriginRequest, results_of
from sapflow_operator.settings import Settings
from sapflow_operator.store.origin import is_result, read_origin, read_parameters
from sapflow_operator.store.owners import owner_of
from sapflow_operator.wanted import Place

_OBJECTIVES = ("objective", "secondObjective")
_BY_RESOURCE = {each.resource.kind: each for each in KINDS}


class Origins:
    """Looks up what the jobs of one kind begin with."""

    def __init__(self, settings: Settings, cluster: Cluster, kind: Kind[Any]) -> None:
        self._settings, self._cluster, self._kind = settings, cluster, kind

    async def find(self, job: JobObject, asked: OriginRequest) -> Origin:
        """What the job begins with. Raises OriginUnusable where it is waited for, SpecError, StoreError."""
        found = await self._other(job, asked)
        place, _ = self._kind.place_and_policy(job, self._settings)
        other, _ = _BY_RESOURCE[asked.resource.kind].place_and_policy(found, self._settings)
        if (other.endpoint, other.bucket) != (place.endpoint, place.bucket):
            raise SpecError(
                [
                    (
                        asked.field,
                        f"{asked.name} is in another store, bucket {other.bucket} at {other.endpoint}: name that one "
                        f"in {self._kind.storage_field}",
                    )
                ]
            )
        owner = await owner_of(place, job.namespace, self._cluster, self._settings)
        if asked.parameters:
            return await self._parameters(found, asked, place, owner)
        if asked.version is None:
            return _results(job, found, asked)
        trial = _trial(found, asked)
        if not _ended(found) and not (
            trial is not None
            and await asyncio.to_thread(is_result, place, owner, found.uid, asked.version, trial)
        ):
            raise OriginUnusable(
                f"{asked.field}: {asked.name} has not finished, and may remove version {asked.version} meanwhile; it "
                "is waited for"
            )
        return await asyncio.to_thread(read_origin, place, owner, found.uid, asked.version, trial)

    async def _parameters(
        self, found: JobObject, asked: OriginRequest, place: Place, owner: Credentials
    ) -> Origin:
        """The parameters of a trial of a search. Raises OriginUnusable, SpecError, StoreError."""
        if not _ended(found):
            raise OriginUnusable(
                f"{asked.field}: {asked.name} has not ended, so its best trial is not known yet; it is waited for"
            )
        searched = parse(found.document, "kubernetes").spec.parameters
        read = await asyncio.to_thread(read_parameters, place, owner, found.uid, searched, asked.trial)
        if read is None:
            said = f"{asked.name} has failed and has no result: correct it, or name another search"
            raise SpecError([(asked.field, said)])
        return Origin(found.uid, (), read.trial, read)

    async def _other(self, job: JobObject, asked: OriginRequest) -> JobObject:
        """The other resource. Raises OriginUnusable if it is not there."""
        body = await self._cluster.get(asked.resource.kind, job.namespace, asked.name)
        found = None if body is None else JobObject.read(body, asked.resource)
        if found is None or found.deleting:
            raise OriginUnusable(
                f"{asked.field}: there is no {asked.resource.kind} {asked.name} in namespace {job.namespace}; it is "
                f"waited for. If it was deleted: {_remedy(asked)}"
            )
        return found


def _remedy(asked: OriginRequest) -> str:
    """What helps where the other resource will not come back."""
    if asked.parameters:
        return "leave it out, and write its best parameters into the job"
    if asked.version is None:
        return "leave it out, and give the best sets of parameters as spec.initial"
    return "an export and spec.model.weights start from its result"


def _ended(found: JobObject) -> bool:
    return Conditions(found.status.get("conditions", ()), found.generation, datetime.now(UTC)).finished


def _trial(found: JobObject, asked: OriginRequest) -> int | None:
    """The number of the trial whose version is asked for; None: it is a job's. Raises OriginUnusable, SpecError."""
    if asked.resource != TUNING_JOB or asked.trial is not None:
        return asked.trial
    best = found.status.get("result", {}).get("trial")
    if best is not None:
        return int(best)
    if _ended(found):
        raise SpecError(
            [(asked.field, f"{asked.name} has ended without a best trial: name one by its number")]
        )
    raise OriginUnusable(
        f"{asked.field}: {asked.name} has not ended, so its best trial is not known yet; it is waited for"
    )


def _results(job: JobObject, found: JobObject, asked: OriginRequest) -> Origin:
    """What a search reads of an earlier one. Raises OriginUnusable, SpecError."""
    sought, own = (
        [each.spec.get(name) and _in_words(each.spec[name]) for name in _OBJECTIVES] for each in (found, job)
    )
    if sought != own:
        said = " and ".join(each for each in sought if each)
        raise SpecError(
            [
                (
                    asked.field,
                    f"{asked.name} has other objectives, {said}: name a search with the same ones, or leave it out",
                )
            ]
        )
    if not _ended(found) and not found.suspended:
        raise OriginUnusable(
            f"{asked.field}: {asked.name} has neither ended nor been suspended, so it may still find more; it is "
            "waited for"
        )
    return Origin(found.uid, results_of(found.uid))


def _in_words(objective: dict[str, Any]) -> str:
    """What of an objective must be the same: its goal may differ."""
    return f"{objective.get('metric')} ({objective.get('direction')})"
