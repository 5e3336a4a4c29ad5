"""Carries out what the reconciler decides for kinds whose resources have a driver."""

import asyncio
import logging
import secrets
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sapflow import logs
from sapflow.errors import SapflowError, StoreError
from sapflow.kube.errors import ClusterError
from sapflow.objects.stores.credentials import Credentials
from sapflow_operator import left_behind, names, served_job
from sapflow_operator.actions import (
    Action,
    Apply,
    Delete,
    DeleteJob,
    Event,
    IssueCredentials,
    KeepLastVersion,
    LeaveSharedData,
    LimitCpu,
    ReleaseParts,
    RemoveObjects,
    RevokeCredentials,
    Serve,
)
from sapflow_operator.api import children, parts
from sapflow_operator.api.cluster import Cluster
from sapflow_operator.errors import (
    CredentialsRefused,
    EarlierObjects,
    NotOwned,
    SecretUnusable,
    SharedDataGone,
)
from sapflow_operator.kind import Kind
from sapflow_operator.names import Resource
from sapflow_operator.nodes import Demand, Inventory, Node
from sapflow_operator.observed import FUNCTION_CONTAINER, JobObject, Observed, has_ended, pods_of
from sapflow_operator.origins import Origins
from sapflow_operator.ownership import owns
from sapflow_operator.queue import Entry, Queue
from sapflow_operator.reconcile import plan_deletion, reconcile, troubled
from sapflow_operator.resource_controller import ResourceController
from sapflow_operator.resources import pool_secret
from sapflow_operator.settings import Settings
from sapflow_operator.sharing import Sharing, without_area
from sapflow_operator.store import credentials, objects
from sapflow_operator.store.owners import owner_of
from sapflow_operator.wanted import Place, Wanted

logger = logging.getLogger("sapflow.operator")

OBSERVING_AT_ONCE = 4
"""The most jobs whose children are read at once. Each takes up to a MiB meanwhile, and more would not be faster."""


class Controller(ResourceController):
    """The controller of one kind of resources that have a driver, which are called jobs here."""

    def __init__(
        self,
        settings: Settings,
        cluster: Cluster,
        kind: Kind[Any],
        queue: Queue | None = None,
        changed_result: Callable[[Resource, str, str], None] | None = None,
    ) -> None:
        """`queue` is that of all kinds; left out: the controller has its own. `changed_result` is called with the
        namespaces and names of jobs that may have another result now."""
        super().__init__(settings, cluster, kind.resource)
        self._kind = kind
        self._changed_result = changed_result
        self._queue = Queue(settings.max_running_jobs) if queue is None else queue
        self._queue.listen(kind.resource.kind, self.touch)
        self._sharing = Sharing(settings, cluster, kind)
        self._origins = Origins(settings, cluster, kind)
        self._observing = asyncio.Semaphore(OBSERVING_AT_ONCE)
        self._unrenewed: set[str] = set()
        """The uids of jobs whose renewal has failed, which was told."""

    def _note(self, job: JobObject) -> None:
        self._remember(job)

    def _changed(self, job: JobObject) -> None:
        """Take note of a job that has changed, which may admit others from the queue."""
        before = self._jobs.get(job.uid)
        self._queue.call(self._remember(job))
        # Of all that a driver reports only this is a request; the rest is no reason to reconcile.
        if before is not None and self._kind.asked(before) != self._kind.asked(job):
            self.touch(job.namespace, job.name)
        if self._changed_result is not None and job.status.get("result") != (
            before.status.get("result") if before is not None else None
        ):
            self._changed_result(job.resource, job.namespace, job.name)

    def source_changed(self, resource: Resource, namespace: str, name: str) -> None:
        """Look at the jobs that wait for the result of another resource, which it may have now."""
        for job in self.jobs:
            if job.namespace == namespace and self._kind.waits_for(job) == (resource.kind, name):
                self.touch(namespace, job.name)

    def _gone(self, job: JobObject) -> None:
        self._unrenewed.discard(job.uid)
        self._queue.call(self._queue.drop(job.uid))

    def _remember(self, job: JobObject) -> list[Entry]:
        """Remember a job. Returns the jobs that may be admitted because of this."""
        # The specs of many finished jobs would take much memory, and no more of them is needed here.
        self._jobs[job.uid] = replace(job, spec=self._kind.remembered(job))
        return self._queue.put(job)

    async def _end(self, job: JobObject) -> bool:
        observed = await self._observe(job)
        plan = plan_deletion(self._kind, job, observed, datetime.now(UTC), self._settings)
        for action in plan.actions:
            await self._do_last(job, action, late=plan.late)
        return plan.done

    async def _advance(self, job: JobObject) -> tuple[str, float | None]:
        """Reconcile a job once. Returns the outcome, and the seconds until the next time (None: after a change)."""
        now, outcome = datetime.now(UTC), "ok"
        try:
            observed, admission = await self._observe(job), self._queue.admit(job.uid)
            if admission.may_start and self._sharing.undecided(job, observed):
                job, shared = await self._sharing.decide(job)
                if shared is not None:
                    await self._sharing.use(job, shared)
            if admission.may_start and self._asks_for_room(job, observed):
                observed = replace(observed, inventory=await self._room(job))
            if admission.may_start and (origin := self._kind.origin(job)) is not None:
                observed = replace(observed, origin=await self._origins.find(job, origin))
            plan = reconcile(self._kind, job, observed, now, self._settings, admission)
            for action in plan.actions:
                await self._do(job, action)
        except SapflowError as error:
            logs.event(
                logger, logging.WARNING, "trouble", job=job.name, reason=error.reason, message=str(error)
            )
            if isinstance(error, SharedDataGone):
                job = without_area(job)
            plan, outcome = troubled(self._kind, job, error, now), error.reason
            if not isinstance(error, EarlierObjects):
                self._queue.call(self._queue.could_not_start(job.uid))
        await self._say(job, plan.status, plan.events)
        return outcome, plan.again

    async def _observe(self, job: JobObject) -> Observed:
        """The job's children. Those with labels are listed, the others are read by name."""
        selector = names.selector(job.name)
        wanted = [
            ("Secret", names.pool_secret(job.pool)),
            ("ConfigMap", names.spec_config_map(job.pool)),
            ("ServiceAccount", names.driver(job.pool)),
            ("Role", names.driver(job.pool)),
            ("RoleBinding", names.driver(job.pool)),
            ("NetworkPolicy", names.functions_policy(job.pool)),
            ("NetworkPolicy", names.driver(job.pool)),
        ]
        async with self._observing:
            claims, inventory = [], Inventory()
            if self._kind.has_cells(job):
                claims = await self._cluster.list("PersistentVolumeClaim", job.namespace, selector)
                inventory = await self._inventory(claims)
            services, drivers, pods, *named = await asyncio.gather(
                self._cluster.list("Service", job.namespace, selector),
                self._cluster.list("Job", job.namespace, selector),
                self._cluster.list("Pod", job.namespace, selector),
                *(self._cluster.get(kind, job.namespace, name) for kind, name in wanted),
            )
        found = [*services, *drivers, *claims, *(each for each in named if each is not None)]
        # Children of an earlier job of this name do not count; the garbage collector removes them.
        mine = [each for each in found if owns(job, each)]
        observed = Observed.of(mine, pods_of(job, pods, mine))
        strangers = [each for each in named if each is not None and not owns(job, each)]
        observed = replace(observed, inventory=inventory, strangers=strangers)
        ended = observed.driver(job.pool).state == "succeeded"
        if ended and "result" not in job.status and not job.deleting:
            place, _ = self._kind.place_and_policy(job, self._settings)
            owner = await self._owner(place, job.namespace)
            outcome = await asyncio.to_thread(objects.read_outcome, place, owner, job.uid)
            observed = replace(observed, outcome=outcome)
        return observed

    def _asks_for_room(self, job: JobObject, observed: Observed) -> bool:
        """Whether a driver is about to start and needs to know how many functions the nodes hold."""
        return not self._settings.max_instances and self._kind.asks_for_room(job, observed)

    async def _room(self, job: JobObject) -> Inventory:
        """The nodes to plan for, less what other jobs hold. A job also starts if they cannot be read."""
        try:
            async with self._observing:
                return Inventory(await self._nodes()).without(await self._held_by_others(job))
        except ClusterError as error:
            logs.event(logger, logging.WARNING, "nodes not read", job=job.name, message=str(error))
            return Inventory()

    async def _held_by_others(self, job: JobObject) -> list[tuple[str, Demand]]:
        """The nodes and requests of the pods of all other jobs."""
        found: list[tuple[str, Demand]] = []
        for namespace in self._settings.namespaces or (None,):
            async for pod in self._cluster.each("Pod", namespace, names.JOB_LABEL):
                node = pod.get("spec", {}).get("nodeName")
                if (
                    node
                    and not has_ended(pod)
                    and pod["metadata"].get("labels", {}).get(names.UID_LABEL) != job.uid
                ):
                    found.append((node, Demand.of(pod)))
        return found

    async def _inventory(self, claims: Sequence[Mapping[str, Any]]) -> Inventory:
        """The nodes and volumes of cells; empty if the chart does not allow reading them."""
        wanted = {each.get("spec", {}).get("volumeName") for each in claims} - {None}
        try:
            nodes, *volumes = await asyncio.gather(
                self._nodes(),
                *(self._cluster.get("PersistentVolume", None, str(name)) for name in sorted(wanted)),
            )
        except ClusterError as error:
            if error.status != 403:
                raise
            return Inventory()
        found = {each["metadata"]["name"]: each for each in volumes if each is not None}
        return Inventory(nodes, found)

    async def _nodes(self) -> list[Node]:
        """All nodes, read one after the other, because their objects are large and a cluster may have thousands."""
        return [Node.read(each) async for each in self._cluster.each("Node", None)]

    async def _do(self, job: JobObject, action: Action) -> None:
        match action:
            case Apply(manifest, uid):
                await children.put(self._cluster, job, manifest, uid)
            case Delete(kind, name, at_once, uid):
                await self._cluster.delete(kind, job.namespace, name, uid, at_once=at_once)
            case LimitCpu(pod, limit):
                await self._limit_cpu(job, pod, limit)
            case IssueCredentials(wanted, until):
                await self._issue_in_time(job, wanted, until)
            case RevokeCredentials():
                await self._revoke(job, action)
            case RemoveObjects(uid, place, keep):
                owner = await self._owner(place, job.namespace)
                await asyncio.to_thread(objects.remove, place, owner, uid, keep=keep)
            case LeaveSharedData():
                await self._sharing.leave(action, job.namespace)
            case KeepLastVersion(uid, place):
                await self._keep_last_version(job, uid, place)
            case ReleaseParts(resource):
                await parts.release(self._cluster, job, resource)
            case Serve(manifest):
                await self._serve(job, manifest)
            case DeleteJob():
                await self._tell(job, Event("Expired", "spec.ttlSecondsAfterFinished is over"))
                await self._cluster.delete(self._resource.kind, job.namespace, job.name, job.uid)

    async def _serve(self, job: JobObject, manifest: Mapping[str, Any]) -> None:
        """Make the ModelService that a job asks for, or update it. One that somebody else has made stays as it is."""
        metadata = manifest["metadata"]
        standing = await self._cluster.get(manifest["kind"], job.namespace, metadata["name"])
        what = f"ModelService {metadata['name']}"
        try:
            if standing is None:
                await self._cluster.create(manifest)
            elif served_job.may_update(job, standing):
                await self._cluster.change(manifest, standing["metadata"]["uid"])
            else:
                message = (
                    f"spec.serve: {what} is there already, and this job has not made it; it is left as it is"
                )
                await self._tell(
                    job, Event("NotOwned", f"{message}: name another as spec.serve.name", "Warning")
                )
                return
        except ClusterError as error:
            if error.status not in (400, 422):
                raise
            # It would be refused again, until spec.serve is changed.
            await self._tell(job, Event("NotServed", f"spec.serve: {what} was refused: {error}", "Warning"))
            return
        await self._tell(job, Event("Served", f"{what} serves its model"))

    async def _do_last(self, job: JobObject, action: Action, *, late: bool) -> None:
        """Like `_do`, but what cannot be done is told and left: if the Secret with the store's credentials is gone, and
        if it is `late`."""
        try:
            await self._do(job, action)
        except SapflowError as error:
            if not late and not isinstance(error, SecretUnusable):
                raise
            await self._tell(job, left_behind.event(action, error))

    async def _keep_last_version(self, job: JobObject, uid: str, place: Place) -> None:
        """Record a job's last version as a checkpoint. The job ends also if its store is away."""
        try:
            owner = await self._owner(place, job.namespace)
            await asyncio.to_thread(objects.keep_last_version, place, owner, uid)
        except (StoreError, SecretUnusable) as error:
            message = f"its last version could not be recorded as a checkpoint: {error}"
            await self._tell(job, Event("NoCheckpoint", message, "Warning"))

    async def _limit_cpu(self, job: JobObject, pod: str, limit: str) -> None:
        """Lower a function's CPU limit. It works as well with more, so a refusal does not stop the job."""
        try:
            await self._cluster.limit_cpu(job.namespace, pod, FUNCTION_CONTAINER, limit)
        except ClusterError as error:
            logs.event(logger, logging.WARNING, "CPU not limited", job=job.name, pod=pod, message=str(error))

    async def _issue_in_time(self, job: JobObject, wanted: Wanted, until: datetime | None) -> None:
        """Make credentials. If that fails while earlier ones are still valid, the job goes on, and it is told once."""
        try:
            await self._issue(job, wanted)
        except SapflowError as error:
            if isinstance(error, NotOwned) or until is None or until <= datetime.now(UTC):
                raise
            if job.uid not in self._unrenewed:
                self._unrenewed.add(job.uid)
                message = (
                    f"the job goes on with credentials that are valid until {until.isoformat()}: {error}"
                )
                await self._tell(job, Event("CredentialsNotRenewed", message, "Warning"))
        else:
            self._unrenewed.discard(job.uid)

    async def _issue(self, job: JobObject, wanted: Wanted) -> None:
        """Make credentials, and keep the token and the earlier access keys of an existing Secret."""
        owner = await self._owner(wanted.place, wanted.namespace)
        # Credentials that could not be written afterwards would stay valid without anybody knowing them.
        trial = pool_secret.build(wanted, "", credentials.Issued("shared", owner))
        secret = await self._cluster.get("Secret", wanted.namespace, names.pool_secret(wanted.pool))
        mine = secret if secret is not None and owns(job, secret) else None
        uid = None if mine is None else str(mine["metadata"]["uid"])
        await children.put(self._cluster, job, {**trial, "data": {}}, uid, dry_run=True)
        shared = await self._sharing.grant(job, wanted, owner)
        issuer = credentials.Issuer(wanted.place, owner)
        seconds, source = self._settings.credentials_seconds, wanted.source
        issued = await asyncio.to_thread(
            issuer.issue,
            wanted.uid,
            source,
            seconds,
            wanted.objects,
            wanted.validation,
            wanted.origin,
            shared,
        )
        data = mine.get("data", {}) if mine else {}
        token = _text(data.get(names.TOKEN_KEY, "")) or secrets.token_urlsafe(32)
        pool = Observed.of([mine], ()).pool(wanted.pool) if mine else None
        earlier = pool.access_keys if pool else ()
        await children.put(self._cluster, job, pool_secret.build(wanted, token, issued, earlier), uid)

    async def _revoke(self, job: JobObject, action: RevokeCredentials) -> None:
        """Revoke credentials. A refusal does not stop anything, because they expire by themselves."""
        try:
            issuer = credentials.Issuer(action.place, await self._owner(action.place, job.namespace))
            await asyncio.to_thread(issuer.revoke, action.uid, action.kind, action.access_keys)
        except (CredentialsRefused, SecretUnusable) as error:
            await self._tell(job, left_behind.not_revoked(action, error))

    async def _owner(self, place: Place, namespace: str) -> Credentials:
        return await owner_of(place, namespace, self._cluster, self._settings)


def _text(encoded: str) -> str:
    """The text of a Secret's value; empty if it is none."""
    try:
        return b64decode(encoded).decode()
    except ValueError:
        return ""
