"""Decides what to do for a resource: a pure function of the resource, its observed state, the time and the settings.

Differences between kinds are behind `Kind`. A resource is called a job here, as the first kind was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sapflow.errors import SapflowError, SpecError
from sapflow.spec.resolved import is_area
from sapflow_operator import (
    active_time,
    cells,
    growth,
    names,
    recorded_place,
    resources,
    served_job,
    startup_cpu,
    times,
)
from sapflow_operator.actions import (
    Action,
    Apply,
    Delete,
    DeleteJob,
    Deletion,
    Event,
    IssueCredentials,
    KeepLastVersion,
    LeaveSharedData,
    Plan,
    ReleaseParts,
    RemoveObjects,
    RevokeCredentials,
)
from sapflow_operator.conditions import FUNCTIONS_READY, PLANNED, SUCCEEDED, SUSPENDED, Condition, Conditions
from sapflow_operator.differences import differs, labelled_as
from sapflow_operator.errors import EarlierObjects
from sapflow_operator.kind import Kind
from sapflow_operator.knative_conditions import condition
from sapflow_operator.observed import Driver, JobObject, Observed
from sapflow_operator.ownership import obstacle
from sapflow_operator.reconciliation import Reconciliation
from sapflow_operator.settings import Settings
from sapflow_operator.wanted import Place, Wanted, services

RESYNC_SECONDS = 30.0
"""Seconds between two reconciliations of a running job, for changes without an event, such as a deadline."""
RETRY_SECONDS, LONGEST_RETRY_SECONDS = 5.0, 60.0
LONGEST_END = 60.0
"""Seconds after which the functions of a suspended job end, whether its driver has ended or not."""
MOVING_SECONDS = 1.0
"""Seconds between two reconciliations while something is being removed, of which there is no event."""
CALL_FAILED = {"InvocationFailed", "InvocationTimeout", "InstanceLost", "Unavailable", growth.KILLED}
"""Reasons of a driver if functions did not answer, and it cannot know why."""


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether the queue admits a job, and the number of running jobs."""

    may_start: bool
    running: int = 0


def reconcile(
    kind: Kind[Any],
    job: JobObject,
    observed: Observed,
    now: datetime,
    settings: Settings,
    admission: Admission,
) -> Plan:
    """What to do next for a job that is not being deleted."""
    standing = Conditions(job.status.get("conditions", ()), job.generation, now)
    if standing.finished and not _reopened(kind, job, standing):
        return _finished(kind, job, observed, now, settings)
    return _Reconciler(kind, job, observed, now, settings).plan(admission)


def troubled(kind: Kind[Any], job: JobObject, error: SapflowError, now: datetime) -> Plan:
    """The plan after an action has failed: it is tried again if that may help, else the job has failed.

    A finished job stays as it is, because only its clean-up has failed.
    """
    conditions = Conditions(job.status.get("conditions", ()), job.generation, now)
    if conditions.finished and not _reopened(kind, job, conditions):
        return Plan(again=_patience_with(error, conditions[SUCCEEDED], now))
    status = _kept_status(kind, job)
    if isinstance(error, EarlierObjects):
        conditions.mark_starting(str(error))
    elif error.retryable:
        conditions.mark_not_planned(error.reason, str(error))
    else:
        conditions.mark_failed(error.reason, str(error))
        status["completionTime"] = times.write(now)
    return Plan(
        status=_status(job, status, conditions),
        events=_events(kind, job, conditions, now),
        again=_patience_with(error, conditions[PLANNED], now) if error.retryable else 0.0,
    )


def _patience_with(error: SapflowError, condition: Condition, now: datetime) -> float:
    """Seconds until the next try; they grow with the time since the condition changed."""
    if isinstance(error, EarlierObjects):
        return MOVING_SECONDS
    waited = (now - times.read(condition.since)).total_seconds()
    return min(LONGEST_RETRY_SECONDS, max(RETRY_SECONDS, waited / 4))


def plan_deletion(
    kind: Kind[Any], job: JobObject, observed: Observed, now: datetime, settings: Settings
) -> Deletion:
    """What to do for a job that is being deleted: end driver and functions, revoke credentials, remove objects."""
    ended = _end_of_functions(job, observed) + _end_of_driver(job, observed)
    late = job.deleted is not None and (now - job.deleted).total_seconds() >= settings.deletion_seconds
    pool = observed.pool(job.pool)
    roles = (names.DRIVER, *kind.roles) if pool and pool.kind == "shared" else (names.DRIVER,)
    if observed.pods_of(*roles) and not late:
        return Deletion(tuple(ended))
    # No driver is there any more that would make others.
    ended += _end_of_parts(kind)
    found = _place(kind, job, observed, settings)
    if found is None:
        # It was never planned, so it has no objects in any store.
        return Deletion(tuple(ended), done=True, late=late)
    place, keep = found
    # A ModelService that it has made outlives it, and reads its result.
    keep = keep or "serving" in job.status
    actions = [*ended, *_end_of_credentials(job, observed, place, now), RemoveObjects(job.uid, place, keep)]
    if is_area(digest := job.status.get("sharedData", {}).get("digest")):
        actions.append(LeaveSharedData(job.uid, place, digest))
    return Deletion(tuple(actions), done=True, late=late)


def _place(
    kind: Kind[Any], job: JobObject, observed: Observed, settings: Settings
) -> tuple[Place, bool] | None:
    """The place of a job's objects, and whether its result stays there when it is deleted; None if it has no place."""
    if recorded := recorded_place.read(observed, job.pool):
        return recorded
    try:
        return kind.place_and_policy(job, settings)
    except SpecError:
        return None


def _reopened(kind: Kind[Any], job: JobObject, standing: Conditions) -> bool:
    """Whether a job that has ended goes on, because its spec was changed."""
    return _corrected(job, standing) or kind.goes_on(job)


def _corrected(job: JobObject, standing: Conditions) -> bool:
    """Whether a refused spec has been changed since."""
    condition = standing[SUCCEEDED]
    return condition.reason == SpecError.reason and condition.generation != job.generation


def _finished(kind: Kind[Any], job: JobObject, observed: Observed, now: datetime, settings: Settings) -> Plan:
    """The plan for a finished job: functions and credentials are removed.

    A driver that has ended stays for its log until the job's `ttlSecondsAfterFinished` is over. One that still runs is
    ended, because the operator has failed the job.
    """
    if serving := served_job.due(job):
        action, served = serving
        standing = Conditions(job.status.get("conditions", ()), job.generation, now)
        return Plan(
            (action,), _status(job, _kept_status(kind, job) | {"serving": served}, standing), again=0.0
        )
    driver = observed.driver(job.pool)
    actions = _end_of_driver(job, observed) if driver.state in ("pending", "running") else []
    actions += _end_of_functions(job, observed) + _end_of_parts(kind)
    if found := _place(kind, job, observed, settings):
        actions += _end_of_credentials(job, observed, found[0], now)
    again, ttl = None, job.spec.get("ttlSecondsAfterFinished")
    if ttl is not None and "completionTime" in job.status:
        left = times.read(job.status["completionTime"]) + timedelta(seconds=ttl) - now
        again = max(0.0, left.total_seconds())
        if again == 0.0:
            actions, again = [DeleteJob()], None
    return Plan(tuple(actions), again=again)


class _Reconciler:
    """One reconciliation of an unfinished job."""

    def __init__(
        self, kind: Kind[Any], job: JobObject, observed: Observed, now: datetime, settings: Settings
    ) -> None:
        self._kind, self._job, self._observed, self._now = kind, job, observed, now
        self._settings = settings
        kept = _with_origin(_kept_status(kind, job), observed)
        self._reconciliation = Reconciliation(job, observed, now, settings, kept)
        self._conditions, self._status = self._reconciliation.conditions, self._reconciliation.status
        if self._reconciliation.failed:
            self._reopen()
        self._actions: list[Action] = []
        self._moving = False
        self._ends: datetime | None = None

    def plan(self, admission: Admission) -> Plan:
        try:
            wanted = self._kind.wanted(self._job, self._status, self._settings)
        except SpecError as error:
            self._reconciliation.fail(error.reason, str(error))
            return self._result(0.0)
        if self._job.suspended:
            return self._suspend()
        if not admission.may_start:
            self._conditions.mark_queued(admission.running)
            return self._result(None)
        self._status.setdefault("startTime", times.write(self._now))
        # The model of a job that was suspended, and goes on.
        self._status.pop("checkpoint", None)
        # A job keeps its images to the end: others may compute other bits, or have other messages.
        self._status.setdefault("images", self._settings.images(wanted.roles))
        wanted = self._kind.sized(wanted, self._reconciliation)
        if self._reconciliation.failed:
            return self._result(0.0)
        try:
            wanted = self._kind.packed(wanted, self._reconciliation)
        except SpecError as error:
            self._reconciliation.fail(error.reason, str(error))
            return self._result(0.0)
        self._conditions.mark_planned(self._kind.describe(wanted))
        driver = self._observed.driver(self._job.pool)
        if driver.state == "succeeded" and not self._outlived(driver, wanted):
            self._succeed()
            return self._result(0.0)
        if driver.state == "failed" and driver.digest == wanted.digest:
            self._judge(driver)
            return self._result(0.0)
        if driver.held:
            active_time.pause(self._status, self._now)
        else:
            active_time.begin(self._status, self._now)
            self._ends = active_time.ends(self._status, wanted.deadline_seconds)
        if self._ends is not None and self._overdue(self._ends) >= 0:
            return self._end_late(wanted, self._ends)
        self._children(wanted, driver)
        self._functions(wanted)
        self._actions += startup_cpu.lowered(wanted, self._observed)
        return self._result(self._patience())

    def _suspend(self) -> Plan:
        """End the driver, which has a function write the model as it stands, and then the functions."""
        if stopped := self._kind.stopped(self._job):
            self._status["checkpoint"] = stopped
        how = self._kind.exported(self._job) if "startTime" in self._status else ""
        self._conditions.mark_suspended("its model is at status.checkpoint.uri" if stopped else how)
        active_time.pause(self._status, self._now)
        self._status.pop("images", None)
        self._actions = _end_of_driver(self._job, self._observed)
        since = times.read(self._conditions[SUSPENDED].since)
        late = (self._now - since).total_seconds() >= LONGEST_END
        if self._kind.leaves_model and self._observed.pods_of(names.DRIVER) and not late:
            return self._result(MOVING_SECONDS)
        self._actions += _end_of_functions(self._job, self._observed)
        return self._result(None)

    def _outlived(self, driver: Driver, wanted: Wanted) -> bool:
        """Whether a driver has ended what was asked for then, and something else is by now."""
        return self._kind.reopens and driver.digest != wanted.digest

    def _reopen(self) -> None:
        """Let a job go on that has ended. The time since its end does not count for its deadline."""
        corrected = _corrected(self._job, self._conditions)
        self._conditions.mark_starting("the spec was corrected" if corrected else "its limits were raised")
        self._status.pop("result", None)
        if completed := self._status.pop("completionTime", None):
            active_time.pause(self._status, times.read(completed))

    def _overdue(self, ends: datetime) -> float:
        """The seconds since the driver should have ended by itself; negative before."""
        return (self._now - ends).total_seconds() - active_time.GRACE_SECONDS

    def _end_late(self, wanted: Wanted, ends: datetime) -> Plan:
        """End a job at its deadline whose driver has not done it: it hangs, crashes or has never run.

        The last version becomes a checkpoint once no driver makes others.
        """
        driver = _end_of_driver(self._job, self._observed)
        waits = driver or self._observed.pods_of(names.DRIVER)
        if waits and self._overdue(ends) < active_time.GRACE_SECONDS:
            self._actions = driver
            self._conditions.mark_starting("its deadline is over: the driver ends")
            return self._result(MOVING_SECONDS)
        functions = self._conditions[FUNCTIONS_READY]
        why = f" ({functions.reason}: {functions.message})" if functions.status == "False" else ""
        model = f": {how}" if (how := self._kind.exported(self._job)) else ""
        self._reconciliation.fail(
            "DeadlineExceeded",
            f"{wanted.deadline_field} ({wanted.deadline_seconds:g}) is over, and the driver did not end the job "
            f"itself{why}; the last version, if there is one, is kept as a checkpoint{model}",
        )
        return self._result(0.0, [*driver, KeepLastVersion(self._job.uid, wanted.place)])

    def _children(self, wanted: Wanted, driver: Driver) -> None:
        """Create, change and remove children until they match what is wanted."""
        if self._observed.strangers:
            raise obstacle(self._job, self._observed.strangers[0])
        pool = self._observed.pool(self._job.pool)
        if pool is None or (pool.renew is not None and pool.renew <= self._now):
            self._actions.append(IssueCredentials(wanted, pool.expires if pool else None))
        self._cells(wanted)
        for manifest in (*resources.foundations(wanted), *resources.functions(wanted)):
            self._apply(manifest)
        if driver.state == "absent" and not self._observed.known(services(wanted)):
            # If a driver resolved their names now, DNS would cache for seconds that they do not exist.
            self._conditions.mark_starting("Knative takes the functions on")
        elif driver.state == "absent" and (why := self._kind.no_room(wanted, self._observed.inventory)):
            # A driver would hold a part of the room that its own functions wait for.
            self._conditions.mark_starting(why)
        elif driver.state == "absent":
            ready = self._kind.planned_on(wanted, self._observed.inventory)
            self._actions.append(Apply(resources.driver(ready, self._ends)))
            self._conditions.mark_starting("the driver starts")
        elif driver.state != "going" and driver.digest != wanted.digest:
            # The pods of a Job cannot be changed; a new one continues from the last commit.
            self._actions += _end_of_driver(self._job, self._observed)
            self._conditions.mark_starting("the driver starts anew with a changed spec")
        elif driver.state == "running":
            stage = self._kind.at_work_on(self._job)
            if stage:
                self._conditions.mark_at_work_on_data(stage)
            else:
                self._conditions.mark_running()
        else:
            self._conditions.mark_starting(driver.trouble or "the driver starts")

    def _cells(self, wanted: Wanted) -> None:
        """Create the cells' volumes. A lost one is removed with its pods, and created again when it is gone."""
        for number in range(wanted.placed.count if wanted.placed else 0):
            claim = self._observed.get("PersistentVolumeClaim", names.cell_volume(self._job.pool, number))
            if claim is None:
                self._actions.append(Apply(resources.cell(wanted, number)))
            elif "deletionTimestamp" in claim["metadata"]:
                self._moving = True
                # An earlier operator may have been stopped before it ended the pods with the claim.
                self._actions += cells.release(self._observed.pods_in(number), self._observed.inventory)
            elif why := cells.lost(claim, self._observed.pods_in(number), self._observed.inventory):
                self._moving = True
                self._actions += cells.abandon(
                    claim, self._observed.pods_in(number), self._observed.inventory
                )
                message = f"cell {number} is made anew elsewhere: {why}"
                self._reconciliation.say("CellMoved", message, "Warning")

    def _apply(self, manifest: Mapping[str, Any]) -> None:
        standing = self._observed.get(manifest["kind"], manifest["metadata"]["name"])
        if standing is not None:
            manifest = labelled_as(manifest, standing)
        if standing is None or differs(manifest, standing):
            uid = self._observed.uid(manifest["kind"], manifest["metadata"]["name"])
            self._actions.append(Apply(manifest, uid))

    def _functions(self, wanted: Wanted) -> None:
        """Set whether functions are ready. Functions that were killed for memory are not."""
        if self._conditions[FUNCTIONS_READY].reason == growth.KILLED:
            return
        if troubles := self._observed.troubles(self._kind.roles):
            first = troubles[0]
            count = sum(each.reason == first.reason and each.role == first.role for each in troubles)
            self._conditions.mark_functions_not_ready(
                first.reason, f"{count} of the {first.role}s: {first.message}"
            )
            return
        waiting = []
        changed = {
            each.manifest["metadata"]["name"]
            for each in self._actions
            if isinstance(each, Apply) and each.manifest["kind"] == "Service"
        }
        for name in services(wanted):
            # What is changed now is ready only once Knative has seen the change.
            ready = {} if name in changed else condition(self._observed.get("Service", name), "Ready")
            if ready.get("status") == "False":
                reason, message = ready.get("reason", "NotReady"), ready.get("message", "")
                self._conditions.mark_functions_not_ready(reason, f"{name}: {message}")
                return
            if ready.get("status") != "True":
                waiting.append(name)
        if waiting:
            more = f" and {len(waiting) - 2} more" if len(waiting) > 2 else ""
            named = " and ".join(waiting) if not more else ", ".join(waiting[:2])
            self._conditions.mark_functions_waiting(f"Knative deploys {named}{more}")
        else:
            self._conditions.mark_functions_ready()

    def _succeed(self) -> None:
        outcome = self._observed.outcome or {}
        self._status["result"] = self._kind.results(outcome)
        self._status["completionTime"] = times.write(self._now)
        self._conditions.mark_succeeded(self._kind.reason(outcome), self._kind.finished(outcome))

    def _judge(self, driver: Driver) -> None:
        """Fail the job if the driver says that it cannot continue. If calls failed, the cause is added, which only the
        cluster shows."""
        verdict, functions = driver.verdict, self._conditions[FUNCTIONS_READY]
        if verdict.model:
            self._status["checkpoint"] = {"version": verdict.version, "uri": verdict.model}
        if functions.status == "False" and verdict.reason in CALL_FAILED:
            self._reconciliation.fail(
                functions.reason, f"{functions.message}. The driver said: {verdict.message}"
            )
        else:
            self._reconciliation.fail(verdict.reason, verdict.message)

    def _patience(self) -> float:
        pool = self._observed.pool(self._job.pool)
        waiting = self._conditions[FUNCTIONS_READY].status != "True"
        seconds = MOVING_SECONDS if self._moving else RETRY_SECONDS if waiting else RESYNC_SECONDS
        if self._ends is not None:
            seconds = min(seconds, max(1.0, -self._overdue(self._ends)))
        if pool is not None and pool.renew is not None:
            left = (pool.renew - self._now).total_seconds()
            # When they are due they are renewed now, and tried again if that fails.
            seconds = min(seconds, max(1.0, left) if left > 0 else max(RETRY_SECONDS, -left / 4))
        return seconds

    def _result(self, again: float | None, last: Sequence[Action] = ()) -> Plan:
        if self._conditions.finished:
            # Nothing more is created; the next reconciliation, at once, removes what a finished job does not need.
            self._actions = [*last]
        return Plan(
            tuple(self._actions),
            _status(self._job, self._status, self._conditions),
            (*self._reconciliation.events, *_events(self._kind, self._job, self._conditions, self._now)),
            again,
        )


def _end_of_driver(job: JobObject, observed: Observed) -> list[Action]:
    return _deletions(observed, ("Job", names.driver(job.pool)))


def _end_of_parts(kind: Kind[Any]) -> list[Action]:
    return [] if kind.parts is None else [ReleaseParts(kind.parts)]


def _end_of_functions(job: JobObject, observed: Observed) -> list[Action]:
    """The actions that remove functions and cells; the objects on cells' volumes are not needed by anything else."""
    kinds = ("Service", "PersistentVolumeClaim")
    return _deletions(observed, *((kind, name) for kind in kinds for name in observed.names_of(kind)))


def _end_of_credentials(job: JobObject, observed: Observed, place: Place, now: datetime) -> list[Action]:
    pool = observed.pool(job.pool)
    if pool is None:
        return []
    removal = _deletions(observed, ("Secret", names.pool_secret(job.pool)))
    if pool.expires is not None and pool.expires <= now:
        return removal
    return [RevokeCredentials(job.uid, place, pool.kind, pool.access_keys, pool.expires), *removal]


def _deletions(observed: Observed, *wanted: tuple[str, str]) -> list[Action]:
    found: list[Action] = []
    for kind, name in wanted:
        standing = observed.get(kind, name)
        if standing is not None and "deletionTimestamp" not in standing["metadata"]:
            found.append(Delete(kind, name, uid=observed.uid(kind, name)))
    return found


def _with_origin(status: dict[str, Any], observed: Observed) -> dict[str, Any]:
    """The status with the version that a fork begins with, once that was looked up: the other job may go after it."""
    return status if observed.origin is None else {**status, "origin": observed.origin.to_status()}


def _kept_status(kind: Kind[Any], job: JobObject) -> dict[str, Any]:
    """The operator's part of the status, without the driver's."""
    return {name: job.status[name] for name in kind.kept if name in job.status}


def _status(job: JobObject, status: Mapping[str, Any], conditions: Conditions) -> dict[str, Any]:
    return {**status, "observedGeneration": job.generation, "conditions": conditions.to_json()}


def _events(kind: Kind[Any], job: JobObject, conditions: Conditions, now: datetime) -> tuple[Event, ...]:
    """An event for each condition that has changed."""
    before = Conditions(job.status.get("conditions", ()), job.generation, now)
    found: list[Event] = []
    for type in kind.conditions:
        old, new = before[type], conditions[type]
        if (old.status, old.reason) == (new.status, new.reason) or not new.reason:
            continue
        if any(event.reason == new.reason for event in found) or new.reason in ("Finished", "Deploying"):
            continue
        reason = "FunctionsReady" if (type, new.reason) == (FUNCTIONS_READY, "Ready") else new.reason
        good = new.status != "False" or new.reason in ("Suspended", "Resumed")
        found.append(Event(reason, new.message, "Normal" if good else "Warning"))
    return tuple(found)
