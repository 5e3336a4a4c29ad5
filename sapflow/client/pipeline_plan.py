"""The forecast of a pipeline before anything of it starts: real steps of every stage, in a store that is thrown away.

A search is forecast as `sapflow plan` does it, and a job as a search of one trial, whose parameters are between the
cheapest and the dearest that its search may find. What several documents prepare alike is prepared once.
"""

import asyncio
import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from sapflow.client import answering, preparation_plan, session, survey
from sapflow.client.search_plan import beginning, check_model, of_data
from sapflow.client.session import Session, store_url
from sapflow.client.tuning import uid_of
from sapflow.data import cut
from sapflow.data.area import area_of
from sapflow.data.manifest import Manifest
from sapflow.data.shared_data import finder
from sapflow.data.source import open_data
from sapflow.objects import keys
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store
from sapflow.planning.pipeline import UNCERTAINTY, PipelineForecast, StageForecast, beside, in_all
from sapflow.planning.preparation import PreparationForecast
from sapflow.planning.spread import Spread
from sapflow.spec import tuning_document
from sapflow.spec.document import parse
from sapflow.spec.resolved import ResolvedJob
from sapflow.spec.serving.serve import ServeSpec
from sapflow.spec.training_job import Runtime, TrainingJob
from sapflow.spec.tuning_job import TuningJob
from sapflow.tuning.data_check import check_data
from sapflow.tuning.forecast.forecaster import Used

STARTS = 2
"""Times that a serving process is started in a rehearsal."""
STEPS = 2
"""Steps of the model that it serves then."""
DRAWS = 200
_NOT_A_TRIALS = (
    "from",
    "parametersFrom",
    "serve",
    "suspend",
    "ttlSecondsAfterFinished",
    "affinity",
    "placement",
)
"""Fields of a job that a search's template must not have; none of them changes what a step takes."""
Document = TuningJob | TrainingJob


@dataclass(frozen=True, slots=True)
class _RehearsedData:
    """The data that a document's steps are made on."""

    prefix: str
    manifest: Manifest
    """Of what lies there."""
    expected: Manifest
    """Of all the data."""
    preparation: PreparationForecast | None = None


@dataclass(slots=True)
class _Rehearsal:
    """Rehearses documents one after the other, in one store."""

    store: Store
    environ: Mapping[str, str]
    runtime: Runtime
    instances: int | None
    tell: Callable[[str], None]
    prepared: dict[str, _RehearsedData] = field(default_factory=dict)
    """By what a cut of the data follows from."""

    async def document(self, place: int, document: Document, search: TuningJob) -> list[StageForecast]:
        """The stages of a document, which `search` is as a search; its data, where no earlier one has it."""
        name, asked = document.metadata.name, store_url(search.template, None)
        self.tell(f"rehearsing {name}")
        data, new = await self._data(place, search, asked)
        found, used = [], Used()
        began = time.monotonic()
        await asyncio.to_thread(check_model, search, data.manifest, self.environ, self.runtime, self.tell)
        checked = time.monotonic() - began
        if new and (said := data.preparation) is not None:
            # The model is checked against the data once that is there.
            seconds, checked = beside(said.seconds, checked, f"{name}/prepare"), 0.0
            found.append(
                StageForecast(document=name, stage="prepare", seconds=seconds, cost_usd=said.cost_usd)
            )
            used = Used(said.seconds.p50, said.cost_usd.p50)
        rehearsed = await of_data(
            search,
            self._resolved(place, search.template, asked, data),
            data.manifest,
            self.store,
            self.environ,
            self.runtime,
            self.instances,
            asked,
            self.tell,
            expected=data.expected,
            used=used,
        )
        # A search rehearses once more when it runs.
        searches = isinstance(document, TuningJob)
        before = checked + (rehearsed.rehearsal_seconds if searches else 0.0)
        found.append(
            StageForecast(
                document=name,
                stage="tune" if searches else "train",
                seconds=beside(rehearsed.seconds, before, name),
                cost_usd=beside(rehearsed.cost_usd, rehearsed.rehearsal_cost_usd if searches else 0.0, name),
            )
        )
        return found

    async def serve(self, place: int, document: Document, spec: ServeSpec) -> StageForecast:
        """The start of a process that serves a model of two steps, until its first decision."""
        job = document.template if isinstance(document, TuningJob) else document
        self.tell("rehearsing its server")
        asked = store_url(job, None)
        data = self.prepared[area_of(job, (), "plan").digest]
        small = preparation_plan.reachable(_of_two_steps(job), asked)
        uid = f"plan-{place}-served"
        opened = Session(uid, small, self.store, self.store.url, shared_data=data.prefix)
        await asyncio.to_thread(cut.write_spec, opened.resolved, self.store)
        outcome = await session.train(opened, data.manifest, self.environ)
        model = answering.result_of(opened, str(outcome["version"]))
        seconds = [await asyncio.to_thread(self._start, model, spec) for _ in range(STARTS)]
        return StageForecast(
            document=document.metadata.name,
            stage="serve",
            seconds=_spread(seconds, job.spec.algorithm.seed),
            cost_usd=Spread(p10=0, p50=0, p90=0),
        )

    def _start(self, model: answering.ServableModel, spec: ServeSpec) -> float:
        began = time.monotonic()
        with answering.start(model, spec, self.environ) as server:
            return answering.ask(server, began).seconds

    async def _data(self, place: int, search: TuningJob, asked: str) -> tuple[_RehearsedData, bool]:
        """The data of a document, and whether it is its own."""
        job = search.template
        key = area_of(job, (), "plan").digest
        if (known := self.prepared.get(key)) is not None:
            return known, False
        resolved = self._resolved(place, job, asked)
        if job.spec.data.prepare is None:
            self.prepared[key] = await asyncio.to_thread(self._cut, search, resolved, asked)
            return self.prepared[key], True
        most = search.spec.max_workers if self.runtime == "local" else None
        made = await preparation_plan.planned(
            resolved,
            self.store,
            self.environ,
            asked=asked,
            runtime=self.runtime,
            at_once=preparation_plan.at_once_of(job, self.runtime, self.instances, most),
            tell=self.tell,
        )
        data = _RehearsedData(resolved.data_prefix, made.rehearsed, made.expected, made.forecast)
        self.prepared[key] = data
        return data, True

    def _cut(self, search: TuningJob, resolved: ResolvedJob, asked: str) -> _RehearsedData:
        data, seed = search.template.spec.data, search.template.spec.algorithm.seed
        found = survey.survey(data, asked, seed)
        check_data(search, found.manifest)
        source = None if found.complete else beginning(open_data(data, finder(asked)))
        manifest = cut.cut(resolved, self.store, source=source)
        return _RehearsedData(resolved.data_prefix, manifest, manifest)

    def _resolved(
        self, place: int, job: TrainingJob, asked: str, data: _RehearsedData | None = None
    ) -> ResolvedJob:
        shared = None if data is None else data.prefix
        reachable = preparation_plan.reachable(job, asked)
        return ResolvedJob(reachable, keys.job(f"plan-{place}"), shared_data=shared)


def forecast(
    documents: Sequence[Document],
    environ: Mapping[str, str],
    *,
    runtime: Runtime = "local",
    instances: int | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> PipelineForecast:
    """Rehearse all documents on this machine, and forecast each stage where it is to run; see `search_plan.forecast`.

    Of a cluster the start of the server is left out, whose images and nodes nobody knows here. Raises SpecError,
    DataError, JobFailed, StoreError.
    """
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="sapflow-plan-") as folder,
        closing(open_store(Path(folder).as_uri())) as store,
    ):
        rehearsal = _Rehearsal(store, environ, runtime, instances, tell)
        stages = asyncio.run(_stages(documents, rehearsal))
    return in_all(stages, time.monotonic() - began)


async def _stages(documents: Sequence[Document], rehearsal: _Rehearsal) -> list[StageForecast]:
    searches: dict[str, TuningJob] = {}
    stages: list[StageForecast] = []
    for place, document in enumerate(documents):
        if isinstance(document, TuningJob):
            searches |= {document.metadata.name: document, uid_of(document): document}
            stages += await rehearsal.document(place, document, document)
        else:
            asked = document.spec.parameters_from
            found = None if asked is None else searches.get(asked.search)
            search = as_search(document, found, rehearsal.runtime)
            stages += await rehearsal.document(place, document, search)
    last = documents[-1]
    if last.spec.serve is not None and rehearsal.runtime == "local":
        stages.append(await rehearsal.serve(len(documents) - 1, last, last.spec.serve))
    return stages


def as_search(job: TrainingJob, search: TuningJob | None, runtime: Runtime) -> TuningJob:
    """The search of one trial that a job is, whose parameters are those of the search that is to find them."""
    spec = {name: value for name, value in job.to_json()["spec"].items() if name not in _NOT_A_TRIALS}
    rate: dict[str, Any] = {
        "path": "spec.optimizer.learningRate",
        "categorical": {"choices": [job.spec.optimizer.learning_rate]},
    }
    parameters = [rate] if search is None else search.to_json()["spec"]["parameters"]
    widest = 0 if search is None else search.spec.most_workers
    document = {
        "apiVersion": job.api_version,
        "kind": "TuningJob",
        "metadata": {"name": job.metadata.name},
        "spec": {
            "template": {"spec": spec},
            "parameters": parameters,
            "objective": {"metric": "loss", "direction": "Minimize"},
            "search": {"name": "Random"},
            "maxTrials": 1,
            "maxWorkers": max(widest, job.spec.workers),
        },
    }
    return tuning_document.parse(document, runtime)


def _of_two_steps(job: TrainingJob) -> TrainingJob:
    """A job whose model is as large, and which ends at once."""
    document = job.to_json()
    spec = {name: value for name, value in document["spec"].items() if name not in _NOT_A_TRIALS}
    spec |= {
        "algorithm": {"steps": STEPS, "seed": job.spec.algorithm.seed},
        "optimizer": {"name": "SGD", "learningRate": 1e-3},
    }
    for left_out in ("evaluation", "limits", "checkpoint", "merge"):
        spec.pop(left_out, None)
    return parse({**document, "spec": spec})


def _spread(seconds: Sequence[float], seed: int) -> Spread:
    """What was measured, and how much slower it may be."""
    random = Random(f"{seed}/serve")
    return Spread.of([
        random.uniform(min(seconds), max(seconds)) * math.exp(random.gauss(0, UNCERTAINTY))
        for _ in range(DRAWS)
    ])  # fmt: skip
