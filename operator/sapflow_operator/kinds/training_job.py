"""The kind TrainingJob: its children, its driver, its growth, and its messages."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

from sapflow.planning import placement
from sapflow.spec.document import parse
from sapflow.spec.training_job import Spec, TrainingJob
from sapflow.spec.trial_names import trial_named
from sapflow.tuning.found_parameters import FIELD, job_with
from sapflow_operator import cells, growth, names
from sapflow_operator.kind import Definition, Kind
from sapflow_operator.kinds import memory_search
from sapflow_operator.kinds.job_kind import JobKind, may_ask, stored_at
from sapflow_operator.kinds.job_pool import check
from sapflow_operator.kinds.job_rules import job_rules
from sapflow_operator.kinds.training_pool import TrainingPool
from sapflow_operator.kinds.training_status import RESULT, training_status
from sapflow_operator.names import Resource
from sapflow_operator.observed import JobObject
from sapflow_operator.origin import OriginRequest, parameters_in
from sapflow_operator.reconciliation import Reconciliation
from sapflow_operator.settings import Settings
from sapflow_operator.wanted import Place, place_of

MUTABLE = ("checkpoint", "limits", "serve", "suspend", "ttlSecondsAfterFinished")


CONDITIONAL = {
    "workers": (
        "oldSelf.suspend && self.algorithm.mode == 'Sync' && !has(self.affinity)",
        "can be changed only while the job is suspended: set suspend: true first. With algorithm.mode Async, and with "
        "affinity, it cannot: create another job",
    )
}


class TrainingJobKind(JobKind[TrainingPool]):
    """A job that trains a model with its own pool of workers and mergers."""

    resource: ClassVar[Resource] = names.TRAINING_JOB
    kept: ClassVar[tuple[str, ...]] = (*Kind.kept, "placement", "origin", "sharedData")
    result: ClassVar[tuple[str, ...]] = tuple(RESULT)
    leaves_model: ClassVar[bool] = True

    @cached_property
    def definition(self) -> Definition:
        return Definition(
            short_names=("tj",),
            description="A neural network trained on serverless functions.",
            spec=Spec,
            spec_description="What to train, on what, and how.",
            made_from="sapflow/spec/training_job.py",
            mutable=MUTABLE,
            conditional=CONDITIONAL,
            rules=tuple(job_rules()),
            columns=(
                {"name": "Step", "type": "integer", "jsonPath": ".status.progress.step"},
                {"name": "Loss", "type": "number", "jsonPath": ".status.progress.loss"},
                {"name": "Workers", "type": "integer", "jsonPath": ".spec.workers"},
                {"name": "Cost", "type": "number", "jsonPath": ".status.progress.costUSD"},
            ),
            status=training_status(),
        )

    def wanted(self, job: JobObject, status: Mapping[str, Any], settings: Settings) -> TrainingPool:
        parsed, memory = _trained(job, status.get("origin")), status.get("memory", {})
        search = memory_search.settings(parsed, memory.get("workerKilled"), settings.max_memory)
        sizes = {role: memory.get(role, size) for role, size in parsed.memory_sizes.items()}
        if search is not None:
            sizes["worker"] = memory_search.in_force(search, memory.get("worker"))
        pinned = settings.pinned(status.get("images", {}))
        place = place_of(parsed.spec.storage, pinned)
        pool = TrainingPool(
            job.name,
            job.namespace,
            job.uid,
            place,
            pinned,
            parsed,
            search=search,
            begins_with=status.get("origin") if "from" in job.spec else None,
            shared=status.get("sharedData", {}).get("digest"),
            queue=job.queue,
        ).with_sizes(sizes)
        check(pool)
        return pool

    def place_and_policy(self, job: JobObject, settings: Settings) -> tuple[Place, bool]:
        return stored_at(job.spec.get("storage"), settings)

    def stopped(self, job: JobObject) -> dict[str, Any] | None:
        found = job.status.get("progress", {}).get("stopped")
        return None if found is None else {"version": found["version"], "uri": found["uri"]}

    def exported(self, job: JobObject) -> str:
        return (
            f"`sapflow export {job.name} -n {job.namespace} --store URL` writes the model of its last version, where "
            "URL is its store as you reach it"
        )

    def describe(self, wanted: TrainingPool) -> str:
        job = wanted.job
        if job.planned and job.spec.merge.structure is None:
            return "its driver chooses the merge tree (status.progress.structure)"
        cut = f" in {job.shards} shards" if job.shards > 1 else ""
        where = f" in {wanted.packed.count} cells" if wanted.packed is not None else ""
        return f"merges by {list(job.structure)}{cut}{where}"

    def finished(self, outcome: Mapping[str, Any]) -> str:
        return f"trained: {outcome['uri']}" if "uri" in outcome else "trained"

    def sized(self, wanted: TrainingPool, reconciliation: Reconciliation) -> TrainingPool:
        """During a search the workers have its size, above every size that was killed."""
        for role in wanted.roles:
            if reconciliation.failed:
                return wanted
            if role == "worker" and wanted.search is not None:
                first = _trained(reconciliation.job, reconciliation.status.get("origin"))
                wanted = memory_search.above_the_killed(wanted, first, wanted.search, reconciliation)
            else:
                wanted = growth.grown(wanted, role, reconciliation)
        return memory_search.followed(wanted, reconciliation, _size_asked(reconciliation.job))

    def packed(self, wanted: TrainingPool, reconciliation: Reconciliation) -> TrainingPool:
        job = wanted.job
        if job.spec.affinity is None:
            return wanted
        if "placement" not in reconciliation.status:
            reconciliation.status["placement"] = cells.decide(job, reconciliation.observed.inventory)
        status = reconciliation.status["placement"]
        config = reconciliation.observed.get("ConfigMap", names.spec_config_map(wanted.pool))
        found = cells.standing(config) or placement.of(cells.decided(job, status))
        if homes := cells.whereabouts(reconciliation.observed.pods):
            known = {each["cell"]: each["node"] for each in status.get("nodes", ())} | homes
            nodes = [{"cell": cell, "node": known[cell]} for cell in sorted(known)]
            reconciliation.status["placement"] = {**status, "nodes": nodes}
        return replace(wanted, job=cells.decided(job, status), packed=found)

    def has_cells(self, job: JobObject) -> bool:
        return "affinity" in job.spec

    def asked(self, job: JobObject) -> str:
        """The memory that workers are to have, and what is prepared of the data."""
        return f"{_size_asked(job)} {self.at_work_on(job)}".strip()

    def remembered(self, job: JobObject) -> Mapping[str, Any]:
        return {name: job.spec[name] for name in ("memory", "parametersFrom") if name in job.spec}

    def waits_for(self, job: JobObject) -> tuple[str, str] | None:
        searched = job.spec.get("parametersFrom")
        if searched is None or "origin" in job.status:
            return None
        return names.TUNING_JOB.kind, str(searched["search"])

    def origin(self, job: JobObject) -> OriginRequest | None:
        asked, searched = job.spec.get("from"), job.spec.get("parametersFrom")
        if not may_ask(job):
            return None
        if searched is not None:
            field, name, trial = f"{FIELD}.search", str(searched["search"]), searched.get("trial")
            return OriginRequest(field, names.TUNING_JOB, name, trial=trial, parameters=True)
        if asked is None:
            return None
        name, version = str(asked["job"]), int(asked["version"])
        if (named := trial_named(name)) is None:
            return OriginRequest("spec.from.job", self.resource, name, version)
        return OriginRequest("spec.from.job", names.TUNING_JOB, named.search, version, named.number)


TRAINING_JOB = TrainingJobKind()


def _trained(job: JobObject, origin: Mapping[str, Any] | None) -> TrainingJob:
    """The job with the parameters that a search has found, once they are known. Raises SpecError."""
    found = parameters_in(origin)
    return parse(job.document, "kubernetes") if found is None else job_with(job.document, found, "kubernetes")


def _size_asked(job: JobObject) -> str:
    return memory_search.asked(job, job.spec)
