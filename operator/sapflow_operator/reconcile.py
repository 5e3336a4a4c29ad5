"""What is to be done for a job: a pure function of the job, what is seen of it, the time and the settings."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, get_args

from sapflow.errors import SapflowError, SpecError
from sapflow.planning import placement
from sapflow.quantities.memory import MIB, format_quantity, parse_quantity
from sapflow.quantities.roles import Role
from sapflow.records.memory_search import SearchSettings
from sapflow.spec.document import parse
from sapflow.spec.training_job import TrainingJob
from sapflow_operator import cells, memory_search, names, resources, times
from sapflow_operator.actions import (
    Action,
    Apply,
    Delete,
    DeleteJob,
    Event,
    Farewell,
    IssueCredentials,
    Plan,
    RemoveObjects,
    RevokeCredentials,
)
from sapflow_operator.conditions import FUNCTIONS_READY, PLANNED, SUCCEEDED, SUSPENDED, Condition, Conditions
from sapflow_operator.differences import differs
from sapflow_operator.kinds.status_schema import RESULT
from sapflow_operator.observed import Driver, JobObject, Observed
from sapflow_operator.settings import Settings
from sapflow_operator.wanted import Place, Wanted, check, place_of

GROWTH = 1.5
"""Times the memory that a function killed for it is given next."""
RESYNC_SECONDS = 30.0
"""Between two looks at a job at work, in case no event tells of a change: a pod that waits, a clock that ran out."""
RETRY_SECONDS, LONGEST_RETRY_SECONDS = 5.0, 60.0
MOVING_SECONDS = 1.0
"""Between two looks at a cell whose volume is on its way out: nobody tells of that."""
KILLED = "OutOfMemory"
CALL_FAILED = {"InvocationFailed", "InvocationTimeout", "InstanceLost", "Unavailable", KILLED}
"""What a driver says where functions did not answer, and cannot say why."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A job's place among the others."""

    may_start: bool
    running: int = 0


def reconcile(job: JobObject, observed: Observed, now: datetime, settings: Settings, turn: Turn) -> Plan:
    """What to do next for a job that is not being deleted."""
    standing = Conditions(job.status.get("conditions", ()), job.generation, now)
    if standing.finished and not _corrected(job, standing):
        return _finished(job, observed, now, settings)
    return _Reconciliation(job, observed, now, settings).plan(turn)


def troubled(job: JobObject, error: SapflowError, now: datetime) -> Plan:
    """What to say where an action failed: tried again if that may help, else the job has failed."""
    conditions = Conditions(job.status.get("conditions", ()), job.generation, now)
    status = _kept_status(job)
    if error.retryable:
        conditions.mark_not_planned(error.reason, str(error))
    else:
        conditions.mark_failed(error.reason, str(error))
        status["completionTime"] = times.write(now)
    return Plan(
        status=_status(job, status, conditions),
        events=_events(job, conditions, now),
        again=_patience_with(conditions[PLANNED], now) if error.retryable else 0.0,
    )


def _patience_with(planned: Condition, now: datetime) -> float:
    """Seconds until the next try: the longer it has been in vain, the more."""
    waited = (now - times.read(planned.since)).total_seconds()
    return min(LONGEST_RETRY_SECONDS, max(RETRY_SECONDS, waited / 4))


def farewell(job: JobObject, observed: Observed, settings: Settings) -> Farewell:
    """What to do for a job that is being deleted: end driver and functions, then credentials, then objects."""
    ended = _end_of_functions(job, observed) + _end_of_driver(job, observed)
    try:
        place, keep = place_and_policy(job, settings)
    except SpecError:
        # It was never planned, so there is nothing of it in any store.
        return Farewell(tuple(ended), done=True)
    pool = observed.pool(job.name)
    roles = (names.DRIVER, *get_args(Role)) if pool and pool.kind == "shared" else (names.DRIVER,)
    if observed.pods_of(*roles):
        return Farewell(tuple(ended))
    actions = [*ended, *_end_of_credentials(job, observed, place), RemoveObjects(job.uid, place, keep)]
    return Farewell(tuple(actions), done=True)


def _corrected(job: JobObject, standing: Conditions) -> bool:
    """Whether a spec that was refused has been changed since."""
    condition = standing[SUCCEEDED]
    return condition.reason == SpecError.reason and condition.generation != job.generation


def _finished(job: JobObject, observed: Observed, now: datetime, settings: Settings) -> Plan:
    """Functions and credentials go; the driver's Job stays for its log, until the job's time is over."""
    actions = _end_of_functions(job, observed)
    try:
        place, _ = place_and_policy(job, settings)
        actions += _end_of_credentials(job, observed, place)
    except SpecError:
        pass  # a spec that was refused has had neither functions nor credentials
    again, ttl = None, job.spec.get("ttlSecondsAfterFinished")
    if ttl is not None and "completionTime" in job.status:
        left = times.read(job.status["completionTime"]) + timedelta(seconds=ttl) - now
        again = max(0.0, left.total_seconds())
        if again == 0.0:
            actions, again = [DeleteJob()], None
    return Plan(tuple(actions), again=again)


class _Reconciliation:
    """One look at a job that has not finished."""

    def __init__(self, job: JobObject, observed: Observed, now: datetime, settings: Settings) -> None:
        self._job, self._observed, self._now, self._settings = job, observed, now, settings
        self._conditions = Conditions(job.status.get("conditions", ()), job.generation, now)
        self._status = _kept_status(job)
        if self._conditions.finished:
            self._conditions.mark_starting("the spec was corrected")
            self._status.pop("completionTime", None)
        self._actions: list[Action] = []
        self._said: list[Event] = []
        self._moving = False

    def plan(self, turn: Turn) -> Plan:
        try:
            wanted = self._wanted()
        except SpecError as error:
            self._fail(error.reason, str(error))
            return self._result(0.0)
        if self._job.suspended:
            self._actions = _end_of_driver(self._job, self._observed) + _end_of_functions(
                self._job, self._observed
            )
            self._conditions.mark_suspended()
            self._status.pop("images", None)
            return self._result(None)
        if not turn.may_start:
            self._conditions.mark_queued(turn.running)
            return self._result(None)
        self._status.setdefault("startTime", times.write(self._now))
        # A job ends on the images it began on: others may compute other bits, or speak otherwise.
        self._status.setdefault("images", self._settings.images)
        wanted = self._resized(self._grown(wanted))
        if self._conditions.finished:
            return self._result(0.0)
        try:
            wanted = self._placed(wanted)
        except SpecError as error:
            self._fail(error.reason, str(error))
            return self._result(0.0)
        self._conditions.mark_planned(_describe(wanted))
        driver = self._observed.driver(self._job.name)
        if driver.state == "succeeded":
            self._succeed()
            return self._result(0.0)
        if driver.state == "failed" and driver.digest == wanted.digest:
            self._judge(driver)
            return self._result(0.0)
        self._children(wanted, driver)
        self._functions(wanted)
        return self._result(self._patience())

    def _wanted(self) -> Wanted:
        """The job with the memory in force. Raises SpecError."""
        job, memory = parse(self._job.document, "kubernetes"), self._status.get("memory", {})
        search = memory_search.settings(job, memory.get("workerKilled"), self._settings.max_memory)
        sizes = {**job.spec.memory.model_dump(), **memory}
        if search is not None:
            sizes["worker"] = memory_search.in_force(search, memory.get("worker"))
        job = _with_memory(job, sizes)
        settings = self._settings.pinned(self._status.get("images", {}))
        place = place_of(job, settings)
        wanted = Wanted(self._job.name, self._job.namespace, self._job.uid, job, place, settings, search)
        check(wanted)
        return wanted

    def _placed(self, wanted: Wanted) -> Wanted:
        """With its functions packed into cells, where it is a job with affinity. Raises SpecError."""
        if wanted.job.spec.affinity is None:
            return wanted
        ground = self._observed.ground
        if "placement" not in self._status:
            self._status["placement"] = cells.decide(wanted.job, ground)
        status = self._status["placement"]
        config = self._observed.get("ConfigMap", names.spec_config_map(self._job.name))
        packed = cells.standing(config) or placement.of(cells.decided(wanted.job, status))
        if homes := cells.whereabouts(self._observed.pods):
            known = {each["cell"]: each["node"] for each in status.get("nodes", ())} | homes
            nodes = [{"cell": cell, "node": known[cell]} for cell in sorted(known)]
            self._status["placement"] = {**status, "nodes": nodes}
        return replace(wanted, job=cells.decided(wanted.job, status), placed=packed)

    def _grown(self, wanted: Wanted) -> Wanted:
        """After a kill for memory: the job with more of it, or none the wiser and said so."""
        for role in get_args(Role):
            limit = wanted.memory(role)
            if role == "worker" and wanted.search is not None:
                wanted = self._above_the_killed(wanted, wanted.search)
                continue
            if not self._observed.killed_for_memory(role, limit):
                continue
            said = f"a {role} was killed over its memory limit of {limit}"
            if not wanted.job.spec.memory.grow_on_oom:
                remedy = (
                    f"raise spec.memory.{role}, lower spec.data.microBatchSize, or set spec.memory.growOnOOM"
                )
                self._conditions.mark_functions_not_ready(KILLED, f"{said}: {remedy}")
                continue
            size = _grow(limit, self._settings.max_memory)
            if size is None:
                most = self._settings.max_memory
                self._fail(KILLED, f"{said}, and the operator gives no function more than {most}")
                return wanted
            self._conditions.mark_functions_waiting(f"{said}; it is given {size}")
            self._said.append(Event("MemoryGrown", f"{said}; it is given {size}", "Warning"))
            wanted = self._with_size(wanted, role, size)
        return wanted

    def _above_the_killed(self, wanted: Wanted, search: SearchSettings) -> Wanted:
        """A search never comes back to a size that a worker was killed over, nor to one below; its driver, started
        anew, knows that by its bounds."""
        killed = self._observed.largest_killed("worker")
        if killed < search.least * MIB:
            return wanted
        said = f"a worker was killed over its memory limit of {format_quantity(killed)}"
        limit = wanted.memory("worker")
        parsed = parse(self._job.document, "kubernetes")
        bounds = memory_search.settings(parsed, format_quantity(killed), self._settings.max_memory)
        # Also a size in force above the killed one that the search may not try any more: the driver waits for another.
        if parse_quantity(limit) <= killed or (bounds and parse_quantity(limit) < bounds.least * MIB):
            size = _grow(format_quantity(killed), format_quantity(search.most * MIB))
            if size is None:
                remedy = "raise spec.memory.optimize.max, or lower spec.data.microBatchSize"
                self._fail(KILLED, f"{said}, and none above it may be given: {remedy}")
                return wanted
            said += f"; it is given {size}"
            self._conditions.mark_functions_waiting(said)
            wanted = self._with_size(wanted, "worker", size)
        self._said.append(Event("MemoryGrown", f"{said}; no size up to that is tried again", "Warning"))
        memory = self._status.get("memory", {role: wanted.memory(role) for role in get_args(Role)})
        self._status["memory"] = memory | {"workerKilled": format_quantity(killed)}
        return replace(wanted, search=bounds)

    def _resized(self, wanted: Wanted) -> Wanted:
        """The workers with the size that the driver's search has come to."""
        if wanted.search is None or self._conditions.finished:
            return wanted
        size, limit = memory_search.wanted(self._job, wanted.search), wanted.memory("worker")
        if size is None or parse_quantity(size) == parse_quantity(limit):
            return wanted
        self._said.append(Event("MemoryChanged", f"workers are given {size} after {limit}"))
        return self._with_size(wanted, "worker", size)

    def _with_size(self, wanted: Wanted, role: Role, size: str) -> Wanted:
        sizes = {each: wanted.memory(each) for each in get_args(Role)} | {role: size}
        self._status["memory"] = {**self._status.get("memory", {}), **sizes}
        return replace(wanted, job=_with_memory(wanted.job, sizes))

    def _children(self, wanted: Wanted, driver: Driver) -> None:
        """Bring what is there to what is wanted."""
        pool = self._observed.pool(self._job.name)
        if pool is None or (pool.renew is not None and pool.renew <= self._now):
            self._actions.append(IssueCredentials(wanted))
        self._cells(wanted)
        for manifest in (*resources.foundations(wanted), *resources.functions(wanted)):
            self._apply(manifest)
        if driver.state == "absent" and not self._observed.known(_services(wanted)):
            # A driver that asked for their names now would be told for seconds that there are none: DNS caches that.
            self._conditions.mark_starting("Knative takes the functions on")
        elif driver.state == "absent":
            self._actions.append(Apply(resources.driver(wanted.on(self._observed.ground))))
            self._conditions.mark_starting("the driver starts")
        elif driver.state != "going" and driver.digest != wanted.digest:
            # A Job's pods cannot be changed: the next one goes on from the last commit.
            self._actions.append(Delete("Job", names.driver(self._job.name)))
            self._conditions.mark_starting("the driver starts anew with a changed spec")
        elif driver.state == "running":
            self._conditions.mark_running()
        else:
            self._conditions.mark_starting(driver.trouble or "the driver starts")

    def _cells(self, wanted: Wanted) -> None:
        """Bring up the cells' volumes; one that is lost goes with its pods, and is made anew when it has gone."""
        for number in range(wanted.placed.count if wanted.placed else 0):
            claim = self._observed.get("PersistentVolumeClaim", names.cell_volume(self._job.name, number))
            if claim is None:
                self._actions.append(Apply(resources.cell(wanted, number)))
            elif "deletionTimestamp" in claim["metadata"]:
                self._moving = True
                # Whoever began it may have been stopped before the pods that hold the claim were ended.
                self._actions += cells.release(self._observed.pods_in(number), self._observed.ground)
            elif why := cells.lost(claim, self._observed.pods_in(number), self._observed.ground):
                self._moving = True
                self._actions += cells.abandon(claim, self._observed.pods_in(number), self._observed.ground)
                message = f"cell {number} is made anew elsewhere: {why}"
                self._said.append(Event("CellMoved", message, "Warning"))

    def _apply(self, manifest: Mapping[str, Any]) -> None:
        standing = self._observed.get(manifest["kind"], manifest["metadata"]["name"])
        if standing is None or differs(manifest, standing):
            self._actions.append(Apply(manifest))

    def _functions(self, wanted: Wanted) -> None:
        """Whether functions can be called; what was killed for memory is not called ready again."""
        if self._conditions[FUNCTIONS_READY].reason == KILLED:
            return
        if troubles := self._observed.troubles():
            first = troubles[0]
            count = sum(each.reason == first.reason and each.role == first.role for each in troubles)
            self._conditions.mark_functions_not_ready(
                first.reason, f"{count} of the {first.role}s: {first.message}"
            )
            return
        waiting = []
        for name in _services(wanted):
            ready = _ready(self._observed.get("Service", name))
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
        self._status["result"] = {name: outcome[name] for name in RESULT if name in outcome}
        self._status["completionTime"] = times.write(self._now)
        where = f": {outcome['uri']}" if "uri" in outcome else ""
        self._conditions.mark_succeeded(f"trained{where}")

    def _judge(self, driver: Driver) -> None:
        """The driver's own word that the job cannot go on, with the cause where only the cluster could see it: why
        calls came to nothing."""
        verdict, functions = driver.verdict, self._conditions[FUNCTIONS_READY]
        if functions.status == "False" and verdict.reason in CALL_FAILED:
            self._fail(functions.reason, f"{functions.message}. The driver said: {verdict.message}")
        else:
            self._fail(verdict.reason, verdict.message)

    def _fail(self, reason: str, message: str) -> None:
        self._status["completionTime"] = times.write(self._now)
        self._conditions.mark_failed(reason, message)

    def _patience(self) -> float:
        pool = self._observed.pool(self._job.name)
        waiting = self._conditions[FUNCTIONS_READY].status != "True"
        seconds = MOVING_SECONDS if self._moving else RETRY_SECONDS if waiting else RESYNC_SECONDS
        if pool is not None and pool.renew is not None:
            seconds = min(seconds, max(1.0, (pool.renew - self._now).total_seconds()))
        return seconds

    def _result(self, again: float | None) -> Plan:
        if self._conditions.finished:
            # Nothing more is built; the next look, at once, takes away what a finished job needs no more.
            self._actions = []
        return Plan(
            tuple(self._actions),
            _status(self._job, self._status, self._conditions),
            (*self._said, *_events(self._job, self._conditions, self._now)),
            again,
        )


def _ready(service: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The condition Ready of a Knative Service as it is now specified; empty where Knative has not said it yet."""
    if service is None:
        return {}
    status = service.get("status", {})
    if status.get("observedGeneration") != service["metadata"].get("generation"):
        return {}
    return next((each for each in status.get("conditions", ()) if each["type"] == "Ready"), {})


def _with_memory(job: TrainingJob, sizes: Mapping[str, Any]) -> TrainingJob:
    memory = job.spec.memory.model_copy(update={role: sizes[role] for role in get_args(Role)})
    return job.model_copy(update={"spec": job.spec.model_copy(update={"memory": memory})})


def _grow(limit: str, most: str) -> str | None:
    """The next size, None where there is none."""
    size = min(math.ceil(parse_quantity(limit) * GROWTH / MIB) * MIB, parse_quantity(most))
    return format_quantity(size) if size > parse_quantity(limit) else None


def place_and_policy(job: JobObject, settings: Settings) -> tuple[Place, bool]:
    """Where a job's objects are, and whether its result is to stay there."""
    parsed = parse(job.document, "kubernetes")
    storage = parsed.spec.storage
    return place_of(parsed, settings), storage is None or storage.deletion_policy == "Retain"


def _describe(wanted: Wanted) -> str:
    job = wanted.job
    if job.planned and job.spec.merge.structure is None:
        return "its driver chooses the merge tree (status.progress.structure)"
    cut = f" in {job.shards} shards" if job.shards > 1 else ""
    where = f" in {wanted.placed.count} cells" if wanted.placed is not None else ""
    return f"merges by {list(job.structure)}{cut}{where}"


def _services(wanted: Wanted) -> list[str]:
    """The names of the Knative Services."""
    return [names.function(wanted.name, group.role, group.cell) for group in wanted.groups]


def _end_of_driver(job: JobObject, observed: Observed) -> list[Action]:
    return _deletions(observed, ("Job", names.driver(job.name)))


def _end_of_functions(job: JobObject, observed: Observed) -> list[Action]:
    """Cells go with their functions: what is on their volumes is of no use to anybody else."""
    kinds = ("Service", "PersistentVolumeClaim")
    return _deletions(observed, *((kind, name) for kind in kinds for name in observed.names_of(kind)))


def _end_of_credentials(job: JobObject, observed: Observed, place: Place) -> list[Action]:
    pool = observed.pool(job.name)
    if pool is None:
        return []
    return [
        RevokeCredentials(job.uid, place, pool.kind, pool.access_keys),
        Delete("Secret", names.pool_secret(job.name)),
    ]


def _deletions(observed: Observed, *wanted: tuple[str, str]) -> list[Action]:
    found: list[Action] = []
    for kind, name in wanted:
        standing = observed.get(kind, name)
        if standing is not None and "deletionTimestamp" not in standing["metadata"]:
            found.append(Delete(kind, name))
    return found


def _kept_status(job: JobObject) -> dict[str, Any]:
    """Our part of the status: the driver's stays its own."""
    kept = ("startTime", "completionTime", "images", "memory", "placement", "result")
    return {name: job.status[name] for name in kept if name in job.status}


def _status(job: JobObject, status: Mapping[str, Any], conditions: Conditions) -> dict[str, Any]:
    return {**status, "observedGeneration": job.generation, "conditions": conditions.to_json()}


def _events(job: JobObject, conditions: Conditions, now: datetime) -> tuple[Event, ...]:
    """One event for each condition that has changed."""
    before = Conditions(job.status.get("conditions", ()), job.generation, now)
    found: list[Event] = []
    for type in (PLANNED, SUSPENDED, FUNCTIONS_READY, SUCCEEDED):
        old, new = before[type], conditions[type]
        if (old.status, old.reason) == (new.status, new.reason) or not new.reason:
            continue
        if any(event.reason == new.reason for event in found) or new.reason in ("Finished", "Deploying"):
            continue
        reason = "FunctionsReady" if (type, new.reason) == (FUNCTIONS_READY, "Ready") else new.reason
        good = new.status != "False" or new.reason in ("Suspended", "Resumed")
        found.append(Event(reason, new.message, "Normal" if good else "Warning"))
    return tuple(found)
