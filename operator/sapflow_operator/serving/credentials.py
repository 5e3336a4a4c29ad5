"""Makes and revokes what the pods of a ModelService get: credentials that read its models, and its bearer token."""

import asyncio
import secrets
from datetime import UTC, datetime

from sapflow.errors import SapflowError
from sapflow_operator import names
from sapflow_operator.actions import Event, RevokeCredentials
from sapflow_operator.api import children
from sapflow_operator.api.cluster import Cluster
from sapflow_operator.errors import NotOwned
from sapflow_operator.observed import JobObject, Observed
from sapflow_operator.ownership import owns
from sapflow_operator.resources import pool_secret, token_secret
from sapflow_operator.serving.reconcile import IssueReading, MakeToken
from sapflow_operator.settings import Settings
from sapflow_operator.store import credentials
from sapflow_operator.store.owners import owner_of

_TOKEN_BYTES = 32


class ServiceCredentials:
    """Of all services of one operator."""

    def __init__(self, settings: Settings, cluster: Cluster) -> None:
        self._settings, self._cluster = settings, cluster
        self._unrenewed: set[str] = set()
        """The uids of services whose renewal has failed, which was told."""

    async def issue(self, service: JobObject, action: IssueReading) -> Event | None:
        """Make credentials. Where that fails while others are valid, the service goes on with them: an event says so,
        once. Raises SapflowError."""
        try:
            await self._issue(service, action)
        except SapflowError as error:
            until = action.until
            if isinstance(error, NotOwned) or until is None or until <= datetime.now(UTC):
                raise
            if service.uid in self._unrenewed:
                return None
            self._unrenewed.add(service.uid)
            message = f"new pods read the model until {until.isoformat()}: {error}"
            return Event("CredentialsNotRenewed", message, "Warning")
        self._unrenewed.discard(service.uid)
        return None

    async def make_token(self, service: JobObject, action: MakeToken) -> None:
        """Make a bearer token, unless there is one. Raises NotOwned, EarlierObjects, ClusterError."""
        manifest = token_secret.build(action.wanted, secrets.token_urlsafe(_TOKEN_BYTES))
        standing = await self._cluster.get("Secret", service.namespace, manifest["metadata"]["name"])
        if standing is None or not owns(service, standing):
            await children.put(self._cluster, service, manifest)

    async def revoke(self, service: JobObject, action: RevokeCredentials) -> None:
        """Revoke credentials. Raises StoreUnavailable, CredentialsRefused, SecretUnusable, ClusterError."""
        owner = await owner_of(action.place, service.namespace, self._cluster, self._settings)
        issuer = credentials.Issuer(action.place, owner)
        await asyncio.to_thread(issuer.revoke, action.uid, action.kind, action.access_keys)

    def forget(self, uid: str) -> None:
        """Drop what is known of a service that is gone."""
        self._unrenewed.discard(uid)

    async def _issue(self, service: JobObject, action: IssueReading) -> None:
        wanted = action.wanted
        owner = await owner_of(wanted.place, wanted.namespace, self._cluster, self._settings)
        # Credentials that could not be written afterwards would stay valid without anybody knowing them.
        trial = pool_secret.build(wanted, "", credentials.Issued("shared", owner))
        standing = await self._cluster.get("Secret", wanted.namespace, names.pool_secret(wanted.pool))
        mine = standing if standing is not None and owns(service, standing) else None
        uid = None if mine is None else str(mine["metadata"]["uid"])
        await children.put(self._cluster, service, {**trial, "data": {}}, uid, dry_run=True)
        issuer = credentials.Issuer(wanted.place, owner)
        issued = await asyncio.to_thread(
            issuer.issue_reading, wanted.uid, action.readable, self._settings.credentials_seconds
        )
        pool = Observed.of([mine], ()).pool(wanted.pool) if mine else None
        earlier = pool.access_keys if pool else ()
        notes = {names.CREDENTIALS_READ: ",".join(action.readable)}
        await children.put(self._cluster, service, pool_secret.build(wanted, "", issued, earlier, notes), uid)
