"""Decides what to do for a ModelService: a pure function of it, its model, what was observed, and the time."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sapflow.errors import SapflowError
from sapflow_operator import times
from sapflow_operator.actions import Apply, Delete, Event, RevokeCredentials
from sapflow_operator.conditions import READY, Conditions
from sapflow_operator.differences import differs
from sapflow_operator.knative_conditions import condition
from sapflow_operator.names import CREDENTIALS_READ, pool_secret, spec_config_map, token_secret
from sapflow_operator.observed import JobObject, Observed
from sapflow_operator.ownership import obstacle
from sapflow_operator.resources import serving_config_map, serving_policy, serving_service
from sapflow_operator.service_wanted import ServiceWanted
from sapflow_operator.serving.counts import Counts
from sapflow_operator.serving.pods_seen import seen
from sapflow_operator.serving.rollout import Course, Standing, Version, course
from sapflow_operator.wanted import Place

CANARY_SECONDS = 3.0
"""Seconds between two looks at the counts of a canary: what breaks a bound is rolled back within ten."""
WAITING_SECONDS = 5.0
RESYNC_SECONDS = 30.0
LONGEST_RETRY_SECONDS = 60.0
KEPT = ("model", "requests", "errors", "url")
"""Fields of the status beside conditions and where the roll-out stands."""


@dataclass(frozen=True, slots=True)
class IssueReading:
    """Make credentials that read these keys, or patterns of them, and write them to the service's Secret."""

    wanted: ServiceWanted
    readable: tuple[str, ...]
    until: datetime | None = None
    """When the credentials end that the service has, if they read all of these; until then it needs no others."""


@dataclass(frozen=True, slots=True)
class MakeToken:
    """Make the service's bearer token."""

    wanted: ServiceWanted


ServiceAction = Apply | Delete | IssueReading | MakeToken | RevokeCredentials


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """The actions to take now, the status to write, and the seconds until the next look."""

    actions: tuple[ServiceAction, ...] = ()
    status: Mapping[str, Any] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    again: float = RESYNC_SECONDS


@dataclass(frozen=True, slots=True)
class Counted:
    """What the pods have counted."""

    total: Counts = field(default_factory=Counts)
    """Since the service was made, as far as it was seen."""
    step: Counts = field(default_factory=Counts)
    """Of the canary, in this step."""


def reconcile(
    service: JobObject, wanted: ServiceWanted, observed: Observed, counted: Counted, now: datetime
) -> ServicePlan:
    """What to do next for a service that is not being deleted. Raises NotOwned, EarlierObjects."""
    if observed.strangers:
        raise obstacle(service, observed.strangers[0])
    standing = Standing.of_status(service.status)
    candidate = Version(wanted.revision, wanted.model.uri, wanted.model.sha256)
    knative = observed.get("Service", wanted.pool)
    found = replace(seen(knative, observed.pods), counts=counted.step)
    next_course = course(standing, candidate, wanted.spec.canary, found, now, service.generation)
    ahead = next_course.standing
    actions = [*_credentials(wanted, service, ahead, observed, now), *_children(wanted, ahead, observed)]
    conditions = Conditions(service.status.get("conditions", ()), service.generation, now)
    moved = any(isinstance(each, Apply) and each.manifest["kind"] == "Service" for each in actions)
    _judge(conditions, next_course, {} if moved else condition(knative, "RoutesReady"))
    status = {
        "observedGeneration": service.generation,
        "conditions": conditions.to_json(),
        "model": wanted.model.to_status(),
        "requests": counted.total.requests,
        "errors": counted.total.errors,
        **ahead.to_status(),
    }
    if url := (knative or {}).get("status", {}).get("url"):
        status["url"] = url
    if ahead.canary is not None and counted.step.compared:
        status["agreement"] = round(counted.step.alike / counted.step.compared, 6)
    events = (*next_course.events, *_events(service, conditions, next_course, now))
    return ServicePlan(tuple(actions), status, events, _patience(ahead, conditions, observed, wanted, now))


def troubled(service: JobObject, error: SapflowError, now: datetime) -> ServicePlan:
    """The plan after something has failed. A service that answers goes on answering meanwhile: Ready says that it
    does, unless it needs what only its user can change."""
    conditions = Conditions(service.status.get("conditions", ()), service.generation, now)
    before = conditions[READY]
    serves = before.status == "True"
    if error.reason == "Starting" or (error.reason == "ModelNotReady" and not serves):
        conditions.mark_deploying(error.reason, str(error))
    elif not (error.retryable and serves) or error.reason in ("NotOwned", "SecretUnusable"):
        conditions.mark_not_serving(error.reason, str(error))
    standing = Standing.of_status(service.status).to_status()
    kept = {name: service.status[name] for name in KEPT if name in service.status}
    status = {
        **kept,
        **standing,
        "observedGeneration": service.generation,
        "conditions": conditions.to_json(),
    }
    after = conditions[READY]
    changed = (before.status, before.reason) != (after.status, after.reason)
    event = Event(after.reason, after.message, "Warning" if after.status == "False" else "Normal")
    waited = (now - _since(conditions, now)).total_seconds()
    again = (
        1.0 if error.reason == "Starting" else min(LONGEST_RETRY_SECONDS, max(WAITING_SECONDS, waited / 4))
    )
    return ServicePlan((), status, (event,) if changed else (), again)


def end(
    service: JobObject, observed: Observed, place: Place | None, now: datetime
) -> tuple[ServiceAction, ...]:
    """What to do for a service that is being deleted: end its pods, revoke its credentials. Its model stays."""
    actions: list[ServiceAction] = []
    for kind, name in (
        ("Service", service.pool),
        ("Secret", pool_secret(service.pool)),
        ("Secret", token_secret(service.pool)),
    ):
        child = observed.get(kind, name)
        if child is not None and "deletionTimestamp" not in child["metadata"]:
            actions.append(Delete(kind, name, uid=observed.uid(kind, name)))
    pool = observed.pool(service.pool)
    if pool is not None and place is not None and (pool.expires is None or pool.expires > now):
        actions.insert(0, RevokeCredentials(service.uid, place, pool.kind, pool.access_keys, pool.expires))
    return tuple(actions)


def left(service: JobObject) -> Event:
    """What a service that is gone leaves, for an event."""
    model = service.status.get("model")
    if model is None:
        return Event("Deleted", "it has not served any model, and leaves nothing")
    return Event(
        "Deleted",
        f"its pods, token and credentials are gone; the model stays: {model['uri']} of {model['source']}",
    )


def _credentials(
    wanted: ServiceWanted, service: JobObject, ahead: Standing, observed: Observed, now: datetime
) -> list[ServiceAction]:
    """Actions so that pods of every revision that may be started read their models, and know their token."""
    actions: list[ServiceAction] = []
    readable = set(wanted.model.readable)
    for each in (ahead.version, ahead.canary, ahead.previous):
        if each is not None:
            readable |= set(replace(wanted.model, uri=each.uri).readable)
    pool, secret = observed.pool(wanted.pool), observed.get("Secret", pool_secret(wanted.pool))
    notes = {} if secret is None else secret["metadata"].get("annotations", {})
    allowed = set(notes.get(CREDENTIALS_READ, "").split(","))
    if pool is None or not readable <= allowed:
        actions.append(IssueReading(wanted, tuple(sorted(readable))))
    elif pool.renew is not None and pool.renew <= now:
        actions.append(IssueReading(wanted, tuple(sorted(readable)), pool.expires))
    if wanted.own_token and observed.get("Secret", token_secret(wanted.pool)) is None:
        actions.append(MakeToken(wanted))
    return actions


def _children(wanted: ServiceWanted, ahead: Standing, observed: Observed) -> list[ServiceAction]:
    """Actions that make the children match what is wanted; pods start after what they read is there."""
    comparing = wanted.compares and len(ahead.shares) > 1
    config = observed.get("ConfigMap", spec_config_map(wanted.pool))
    manifests = (
        serving_policy.build(wanted),
        serving_config_map.build(wanted, ahead.revisions, config, comparing=comparing),
        serving_service.build(wanted, ahead.shares or [(wanted.revision, 100)]),
    )
    actions: list[ServiceAction] = []
    for manifest in manifests:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        standing = observed.get(kind, name)
        if standing is not None and kind == "Service":
            manifest = serving_service.as_standing(manifest, standing)
        if standing is None or differs(manifest, standing):
            actions.append(Apply(manifest, observed.uid(kind, name)))
    return actions


def _judge(conditions: Conditions, found: Course, routes: Mapping[str, Any]) -> None:
    """Set the condition Ready. `routes`: whether Knative does with requests what its Service says, if that is known."""
    version, failure = found.standing.version, found.failure
    if failure is not None:
        conditions.mark_not_serving(failure.reason, failure.message)
    elif version is None:
        conditions.mark_deploying("Deploying", found.message)
    elif found.standing.canary is not None:
        conditions.mark_serving("RollingOut", found.message)
    elif routes.get("status") == "False":
        conditions.mark_not_serving(routes.get("reason", "NotRouted"), routes.get("message", ""))
    elif routes.get("status") == "True" or conditions[READY].status == "True":
        # While Knative lets requests go to another revision, those before it answer.
        conditions.mark_serving("Serving", f"{version.revision} serves")
    else:
        conditions.mark_deploying("Deploying", f"Knative lets requests go to {version.revision}")


def _events(service: JobObject, conditions: Conditions, found: Course, now: datetime) -> tuple[Event, ...]:
    """An event where the service has ceased to serve for a reason that the course has not told."""
    before = Conditions(service.status.get("conditions", ()), service.generation, now)[READY]
    after = conditions[READY]
    told = any(each.reason == after.reason for each in found.events)
    if told or after.status != "False" or (before.status, before.reason) == (after.status, after.reason):
        return ()
    return (Event(after.reason, after.message, "Warning"),)


def _patience(
    ahead: Standing, conditions: Conditions, observed: Observed, wanted: ServiceWanted, now: datetime
) -> float:
    canary = ahead.canary
    if canary is not None and canary.percent:
        seconds = CANARY_SECONDS
    else:
        seconds = RESYNC_SECONDS if conditions[READY].reason == "Serving" else WAITING_SECONDS
    pool = observed.pool(wanted.pool)
    if pool is not None and pool.renew is not None:
        due = (pool.renew - now).total_seconds()
        seconds = min(seconds, max(1.0, due) if due > 0 else max(WAITING_SECONDS, -due / 4))
    return seconds


def _since(conditions: Conditions, now: datetime) -> datetime:
    """When the condition Ready has last changed."""
    since = conditions[READY].since
    return times.read(since) if since else now
