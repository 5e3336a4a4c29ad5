"""`sapflow report` of a file of several documents."""

import argparse
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from sapflow.cli.cluster_options import cluster_named, connect
from sapflow.cli.jobs import documents_in, make_importable
from sapflow.cli.output import print_json
from sapflow.cli.stop import run_until_stopped
from sapflow.client.cluster_pipeline import ClusterPipeline
from sapflow.client.job_data import DataHolder
from sapflow.client.pipeline_plan import Document
from sapflow.client.pipeline_record import PipelineRecord, uid_of
from sapflow.client.pipeline_report import raw_rows_of, served_of, stages_of
from sapflow.client.report import with_prediction, write
from sapflow.client.searched import SEARCH_NOT_DONE
from sapflow.client.session import Session, open_session
from sapflow.client.tuning import TuningSession, open_tuning
from sapflow.errors import DataError
from sapflow.monitoring import report as job_report
from sapflow.monitoring import tuning_report
from sapflow.monitoring.pipeline_report import Part, PipelineFacts, RawRows, ServedFacts, render
from sapflow.objects import keys
from sapflow.spec.tuning_job import TuningJob
from sapflow.text import count, dollars

_NOTHING = "nothing of it has begun yet"


@dataclass
class _Page:
    """A page in the making."""

    given: argparse.Namespace
    environ: Mapping[str, str]
    cluster: ClusterPipeline | None
    stages: Sequence[Mapping[str, Any]] = ()
    raw: dict[str, RawRows] = field(default_factory=dict)
    """By where their samples lie."""
    parts: list[Part] = field(default_factory=list)
    served: ServedFacts | None = None

    def add(self, document: Document, uid: str, last: bool, opened: ExitStack) -> None:
        """Add a document to it. Raises DataError, StoreError."""
        session = self._opened(document, opened)
        if session is None:
            said = "it waits for its search"
            self.parts.append(Part(document.kind, document.metadata.name, "Waiting", said, None))
            return
        if not self.stages:
            self.stages = stages_of(PipelineRecord(session.store, keys.pipeline(uid)))
        self._add_raw(session, session.data_of.job.spec.data.source)
        self.parts.append(self._search(session) if isinstance(session, TuningSession) else self._job(session))
        if last:
            self.served = served_of(session, document, self.given.served)
            if self.cluster is not None and self.served is not None and self.given.served is None:
                self.served = replace(self.served, **self.cluster.counted(document))

    def _opened(self, document: Document, opened: ExitStack) -> Session | TuningSession | None:
        store = self.given.store
        if self.cluster is not None:
            found = self.cluster.session(document, store, self.environ)
            if found is not None:
                opened.enter_context(found)
            return found
        if isinstance(document, TuningJob):
            return opened.enter_context(open_tuning(document, self.environ, store=store, probe=False))
        try:
            return opened.enter_context(open_session(document, self.environ, store=store, probe=False))
        except SEARCH_NOT_DONE:
            return None

    def _add_raw(self, session: DataHolder, source: str) -> None:
        prefix = session.data_of.data_prefix
        if prefix not in self.raw and (found := raw_rows_of(session, source)) is not None:
            self.raw[prefix] = found

    def _search(self, session: TuningSession) -> Part:
        name = session.job.metadata.name
        if not session.started():
            return Part("TuningJob", name, "Pending", _NOTHING, None)
        facts = run_until_stopped(tuning_report.gather(session.uid, session.job, session.store))
        said = count(len(facts.trials), "trial")
        try:
            page = tuning_report.render(facts)
        except DataError as error:
            # Of Plotly or Optuna alone; the rest of the page needs neither.
            return Part("TuningJob", name, facts.phase, f"{said}; no charts: {error}", None)
        return Part("TuningJob", name, facts.phase, said, page)

    def _job(self, session: Session) -> Part:
        name = session.job.metadata.name
        if not session.started():
            return Part("TrainingJob", name, "Pending", _NOTHING, None)
        facts = run_until_stopped(job_report.gather(session.uid, session.job, session.store, None))
        if not self.given.no_prediction:
            facts = with_prediction(facts, session, self.environ, session.job.spec.model.code)
        asked = session.job.spec.parameters_from
        said = f"version {facts.last.version:,}, {dollars(facts.last.account.cost_usd)}"
        if asked is not None:
            said += f"; with the parameters of trial {asked.trial} of {asked.search}"
        return Part("TrainingJob", name, facts.state, said, job_report.render(facts))


def report(given: argparse.Namespace, documents: Sequence[Any], environ: Mapping[str, str]) -> int:
    """Returns exit code 0 after writing the page. Raises DataError, SpecError, StoreError, NotAnswered, and errors of
    clusters."""
    parsed = documents_in(documents, given.job)
    for each in parsed:
        template = each.template if isinstance(each, TuningJob) else each
        environ = make_importable(template, given.job, environ, given.store)
    cluster = ClusterPipeline(connect(given, environ), given.namespace) if cluster_named(given) else None
    page, uid = _Page(given, environ, cluster), uid_of(parsed)
    with ExitStack() as opened:
        for place, document in enumerate(parsed):
            page.add(document, uid, place == len(parsed) - 1, opened)
    name = parsed[-1].metadata.name
    facts = PipelineFacts(name, page.stages, list(page.raw.values()), page.parts, page.served)
    write(given.output, render(facts), "give another path by --output")
    states = {each.name: each.state for each in page.parts}
    if given.json:
        print_json({"pipeline": uid, "states": states, "report": str(given.output)})
    else:
        told = ", ".join(f"{each.name} {each.state}" for each in page.parts)
        print(f"{told}; written to {given.output}")
    return 0
