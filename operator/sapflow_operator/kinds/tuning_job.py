"""The kind TuningJob: a search whose trials share one pool, and which goes on when its limits are raised."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

from sapflow.errors import SpecError
from sapflow.spec import search_limits
from sapflow.spec.tuning_document import parse
from sapflow.spec.tuning_problems import of_template
from sapflow_operator import growth, names
from sapflow_operator.kind import Definition, Kind
from sapflow_operator.kinds import memory_search
from sapflow_operator.kinds.job_kind import JobKind, may_ask, stored_at
from sapflow_operator.kinds.job_pool import check
from sapflow_operator.kinds.tuning_pool import TuningPool
from sapflow_operator.kinds.tuning_spec import tuning_definition
from sapflow_operator.kinds.tuning_status import RESULT, parameter_texts, tuning_status
from sapflow_operator.names import Resource
from sapflow_operator.observed import JobObject
from sapflow_operator.origin import OriginRequest
from sapflow_operator.reconciliation import Reconciliation
from sapflow_operator.settings import Settings
from sapflow_operator.wanted import Place, place_of

COMPLETED = "Completed"


class TuningJobKind(JobKind[TuningPool]):
    """A search for hyperparameters, with a pool that serves all of its trials."""

    resource: ClassVar[Resource] = names.TUNING_JOB
    kept: ClassVar[tuple[str, ...]] = (*Kind.kept, "limits", "toldFailures", "origin", "sharedData")
    storage_field: ClassVar[str] = "spec.template.spec.storage"
    result: ClassVar[tuple[str, ...]] = tuple(RESULT)
    reopens: ClassVar[bool] = True
    parts: ClassVar[Resource] = names.TRIAL

    @cached_property
    def definition(self) -> Definition:
        columns = (
            {"name": "Trials", "type": "string", "jsonPath": ".status.progress.trials"},
            {"name": "Running", "type": "integer", "jsonPath": ".status.progress.running"},
            {"name": "Pruned", "type": "integer", "jsonPath": ".status.progress.pruned"},
            {"name": "Best", "type": "number", "jsonPath": ".status.progress.best.objective"},
            {"name": "Cost", "type": "number", "jsonPath": ".status.progress.costUSD"},
        )
        return tuning_definition(columns, tuning_status())

    def wanted(self, job: JobObject, status: Mapping[str, Any], settings: Settings) -> TuningPool:
        parsed, memory = parse(job.document, "kubernetes"), status.get("memory", {})
        template = parsed.template
        search = memory_search.settings(template, memory.get("workerKilled"), settings.max_memory)
        sizes = {role: memory.get(role, size) for role, size in template.memory_sizes.items()}
        if search is not None:
            sizes["worker"] = memory_search.in_force(search, memory.get("worker"))
        pinned = settings.pinned(status.get("images", {}))
        try:
            place = place_of(template.spec.storage, pinned)
        except SpecError as error:
            raise of_template(error) from error
        pool = TuningPool(
            job.name,
            job.namespace,
            job.uid,
            place,
            pinned,
            template,
            parsed,
            begins_with=status.get("origin"),
            search=search,
            shared=status.get("sharedData", {}).get("digest"),
            queue=job.queue,
        ).with_sizes(sizes)
        check(pool)
        return pool

    def place_and_policy(self, job: JobObject, settings: Settings) -> tuple[Place, bool]:
        template = job.spec.get("template", {}).get("spec", {})
        try:
            return stored_at(template.get("storage"), settings)
        except SpecError as error:
            raise of_template(error) from error

    def describe(self, wanted: TuningPool) -> str:
        spec = wanted.tuning.spec
        trials = "all points of its grid" if spec.max_trials is None else f"{spec.max_trials} trials"
        return (
            f"{trials} by {spec.search.sampler}, {spec.trials_at_once} at once, with at most {spec.max_workers} calls "
            "in flight"
        )

    def finished(self, outcome: Mapping[str, Any]) -> str:
        begun = outcome.get("trials", {}).get("begun", 0)
        if "trial" not in outcome:
            return f"{begun} trials"
        value, model = outcome.get("objective"), f": {outcome['uri']}" if "uri" in outcome else ""
        return f"{begun} trials, the best is trial {outcome['trial']} with {value}{model}"

    def results(self, outcome: Mapping[str, Any]) -> dict[str, Any]:
        found = super().results(outcome)
        return found | {"parameters": parameter_texts(found.get("parameters", {}))}

    def reason(self, outcome: Mapping[str, Any]) -> str:
        return str(outcome.get("endedBy") or COMPLETED)

    def goes_on(self, job: JobObject) -> bool:
        """Whether a limit was raised since the search has ended."""
        return search_limits.raised(job.status.get("limits", {}), job.spec)

    def sized(self, wanted: TuningPool, reconciliation: Reconciliation) -> TuningPool:
        """The pool grows once for all trials. After that a trial that needs more fails, and the others go on."""
        reconciliation.status["limits"] = search_limits.limits_in(reconciliation.job.spec)
        _tell_failures(reconciliation)
        for role in wanted.roles:
            limit = wanted.memory(role)
            if role == "worker" and wanted.search is not None:
                wanted = memory_search.above_the_killed(
                    wanted, wanted.tuning.template, wanted.search, reconciliation
                )
                continue
            if not reconciliation.observed.killed_for_memory(role, limit):
                continue
            first = wanted.tuning.template.memory_sizes[role]
            size = (
                growth.larger(limit, wanted.settings.max_memory) if wanted.grows and limit == first else None
            )
            said = f"a {role} was killed over its memory limit of {limit}"
            if size is None:
                remedy = "" if wanted.grows else f": {wanted.more_memory(role)}"
                reconciliation.conditions.mark_functions_not_ready(
                    growth.KILLED, f"{said}; the trial fails alone{remedy}"
                )
                continue
            reconciliation.conditions.mark_functions_waiting(f"{said}; all are given {size}")
            reconciliation.say("MemoryGrown", f"{said}; all are given {size}, once in a search", "Warning")
            wanted = growth.resized(wanted, {role: size}, reconciliation)
        return memory_search.followed(wanted, reconciliation, _size_asked(reconciliation.job))

    def origin(self, job: JobObject) -> OriginRequest | None:
        name = job.spec.get("warmStartFrom")
        if name is None or not may_ask(job):
            return None
        return OriginRequest("spec.warmStartFrom", self.resource, str(name))

    def asked(self, job: JobObject) -> str:
        """The memory that workers are to have, the number of failed trials, each of which is told by an event, and what
        is prepared of the data."""
        failed = job.status.get("progress", {}).get("failed", "")
        return f"{failed} {_size_asked(job)} {self.at_work_on(job)}".strip()

    def remembered(self, job: JobObject) -> Mapping[str, Any]:
        memory = job.spec.get("template", {}).get("spec", {}).get("memory", {})
        return {"template": {"spec": {"memory": memory}}}


TUNING_JOB = TuningJobKind()


def _size_asked(job: JobObject) -> str:
    return memory_search.asked(job, job.spec.get("template", {}).get("spec", {}))


def _tell_failures(reconciliation: Reconciliation) -> None:
    """An event about the last trial that has failed, and how many have since the last event."""
    progress, told = (
        reconciliation.job.status.get("progress", {}),
        reconciliation.status.get("toldFailures", 0),
    )
    failed, last = progress.get("failed", 0), next(iter(progress.get("failures", ())), None)
    if failed <= told or last is None:
        return
    more = f", and {failed - told - 1} before it" if failed - told > 1 else ""
    reconciliation.say(
        "TrialFailed", f"trial {last['trial']}{more}: {last.get('reason')}: {last.get('message')}", "Warning"
    )
    reconciliation.status["toldFailures"] = failed
