"""The controller of ModelServices: observes, does what `reconcile` decides, writes the status."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sapflow import logs
from sapflow.errors import SapflowError, SpecError
from sapflow.spec.service_document import parse
from sapflow_operator import left_behind, names, recorded_place
from sapflow_operator.actions import Apply, Delete, RevokeCredentials
from sapflow_operator.api import children
from sapflow_operator.api.cluster import Cluster
from sapflow_operator.errors import CredentialsRefused, SecretUnusable
from sapflow_operator.names import Resource
from sapflow_operator.observed import JobObject, Observed, pods_of
from sapflow_operator.ownership import owns
from sapflow_operator.resource_controller import ResourceController
from sapflow_operator.resources import serving_service
from sapflow_operator.service_wanted import ServiceWanted
from sapflow_operator.serving.credentials import ServiceCredentials
from sapflow_operator.serving.models import Models, serves
from sapflow_operator.serving.read_counts import CountReader
from sapflow_operator.serving.reconcile import (
    IssueReading,
    MakeToken,
    ServiceAction,
    ServicePlan,
    end,
    left,
    reconcile,
    troubled,
)
from sapflow_operator.settings import Settings
from sapflow_operator.wanted import Place, place_of

logger = logging.getLogger("sapflow.operator")

OBSERVING_AT_ONCE = 4


class ServiceController(ResourceController):
    """The controller of ModelServices, which have no driver and wait in no queue."""

    def __init__(self, settings: Settings, cluster: Cluster) -> None:
        super().__init__(settings, cluster, names.MODEL_SERVICE)
        self._models = Models(settings, cluster)
        self._credentials = ServiceCredentials(settings, cluster)
        self._counts = CountReader()
        self._observing = asyncio.Semaphore(OBSERVING_AT_ONCE)

    def source_changed(self, resource: Resource, namespace: str, name: str) -> None:
        """Look at the services of a job or a search whose result may be another one now."""
        for service in self.jobs:
            if service.namespace == namespace and serves(service, resource, name):
                self.touch(namespace, service.name)

    async def stop(self) -> None:
        await super().stop()
        await self._counts.close()

    def _note(self, job: JobObject) -> None:
        self._jobs[job.uid] = replace(job, spec={"model": job.spec.get("model", {})})

    def _changed(self, job: JobObject) -> None:
        self._note(job)

    def _gone(self, job: JobObject) -> None:
        self._counts.forget(job.uid)
        self._credentials.forget(job.uid)

    async def _advance(self, job: JobObject) -> tuple[str, float | None]:
        outcome = "ok"
        try:
            plan = await self._plan(job)
            for action in plan.actions:
                await self._do(job, action)
        except SapflowError as error:
            logs.event(
                logger, logging.WARNING, "trouble", service=job.name, reason=error.reason, message=str(error)
            )
            plan, outcome = troubled(job, error, datetime.now(UTC)), error.reason
        await self._say(job, plan.status, plan.events)
        return outcome, plan.again

    async def _plan(self, job: JobObject) -> ServicePlan:
        spec = parse(job.document).spec
        place = place_of(spec.storage, self._settings)
        model = await self._models.find(job, spec, place)
        wanted = serving_service.named(
            ServiceWanted(job.name, job.namespace, job.uid, place, self._settings, spec, model)
        )
        observed = await self._observe(job)
        if wanted.asks_token and not wanted.own_token:
            await self._check_token(wanted)
        now = datetime.now(UTC)
        counted = await self._counts.read(job, observed.pods_of(names.SERVER), now)
        return reconcile(job, wanted, observed, counted, now)

    async def _check_token(self, wanted: ServiceWanted) -> None:
        """Check that the user's Secret has a token: without one pods would wait for it without a word."""
        found = await self._cluster.get("Secret", wanted.namespace, wanted.token_secret)
        if found is None or not found.get("data", {}).get(names.TOKEN_KEY):
            raise SecretUnusable(
                f"spec.auth.secretName: there is no Secret {wanted.token_secret} with the key {names.TOKEN_KEY} in "
                f"namespace {wanted.namespace}; make it, or leave secretName out"
            )

    async def _observe(self, job: JobObject) -> Observed:
        """The service's children. Those with labels are listed, the others are read by name."""
        selector = names.selector(job.name)
        wanted = [
            ("Service", job.pool),
            ("Secret", names.pool_secret(job.pool)),
            ("Secret", names.token_secret(job.pool)),
            ("ConfigMap", names.spec_config_map(job.pool)),
            ("NetworkPolicy", names.server_policy(job.pool)),
        ]
        async with self._observing:
            pods, *named = await asyncio.gather(
                self._cluster.list("Pod", job.namespace, selector),
                *(self._cluster.get(kind, job.namespace, name) for kind, name in wanted),
            )
        found = [each for each in named if each is not None]
        mine: Sequence[Any] = [each for each in found if owns(job, each)]
        observed = Observed.of(mine, pods_of(job, pods, mine))
        return replace(observed, strangers=[each for each in found if not owns(job, each)])

    async def _do(self, job: JobObject, action: ServiceAction) -> None:
        match action:
            case Apply(manifest, uid):
                await children.put(self._cluster, job, manifest, uid)
            case Delete(kind, name, _, uid):
                await self._cluster.delete(kind, job.namespace, name, uid)
            case IssueReading():
                if event := await self._credentials.issue(job, action):
                    await self._tell(job, event)
            case MakeToken():
                await self._credentials.make_token(job, action)
            case RevokeCredentials():
                try:
                    await self._credentials.revoke(job, action)
                except (CredentialsRefused, SecretUnusable) as error:
                    await self._tell(job, left_behind.not_revoked(action, error))

    async def _end(self, job: JobObject) -> bool:
        observed, now = await self._observe(job), datetime.now(UTC)
        late = (
            job.deleted is not None and (now - job.deleted).total_seconds() >= self._settings.deletion_seconds
        )
        for action in end(job, observed, self._place(job, observed), now):
            try:
                await self._do(job, action)
            except SapflowError as error:
                if not late:
                    raise
                event = (
                    left_behind.event(action, error)
                    if isinstance(action, Delete | RevokeCredentials)
                    else None
                )
                if event is not None:
                    await self._tell(job, event)
        await self._tell(job, left(job))
        return True

    def _place(self, job: JobObject, observed: Observed) -> Place | None:
        """The store of a service's models; None if it has none, and so no credentials."""
        if recorded := recorded_place.read(observed, job.pool):
            return recorded[0]
        try:
            return place_of(parse(job.document).spec.storage, self._settings)
        except SpecError:
            return None
