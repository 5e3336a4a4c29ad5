"""`sapflow run` of a file of several documents, one after the other."""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from sapflow.cli import plan_pipeline, serving
from sapflow.cli.ended import Ended
from sapflow.cli.jobs import documents_in, make_importable
from sapflow.client import pipeline_plan
from sapflow.client.pipeline import kind_of, name_of
from sapflow.client.pipeline_plan import Document
from sapflow.client.pipeline_record import PipelineRecord, uid_of
from sapflow.client.session import open_store_of
from sapflow.errors import JobFailed, SpecError
from sapflow.objects import keys
from sapflow.planning.pipeline import PipelineForecast, RunTaken, StageTaken, graded
from sapflow.spec.training_job import TrainingJob
from sapflow.spec.tuning_job import TuningJob
from sapflow.text import duration

RunDocument = Callable[[argparse.Namespace, object, Mapping[str, str]], Ended]
_OF_ONE_JOB = {"workers": "--workers", "openwhisk": "--openwhisk", "metrics": "--metrics"}


def run(
    given: argparse.Namespace, documents: Sequence[Any], environ: Mapping[str, str], run_document: RunDocument
) -> int:
    """Returns exit code 0 once all documents have their results; one that has it already is not run again.

    Before the first stage all of them are forecast, and at the end each forecast is graded. Raises SapflowError,
    Stopped.
    """
    for name, option in _OF_ONE_JOB.items():
        if getattr(given, name, None) is not None:
            raise SpecError(
                [(option, f"is for one TrainingJob, and {given.file} is a pipeline: leave it out")]
            )
    parsed = documents_in(documents, given.file)
    for each in parsed:
        environ = make_importable(template_of(each), given.file, environ, given.store)
    with _record(parsed, given.store, environ) as record:
        if given.again:
            record.forget()
        said = _forecast(given, record, parsed, environ)
        done: list[Mapping[str, Any]] = []
        for place, document in enumerate(documents):
            _head(given, f"{place + 1} of {len(documents)}: {kind_of(document)} {name_of(document)}")
            ended = run_document(given, document, environ)
            done.append(ended.body)
            if ended.taken:
                record.add(RunTaken(stages=list(ended.taken)))
            if ended.code != 0:
                return _of_all(ended, done).tell(as_json=given.json)
            if place < len(documents) - 1 and not given.json:
                ended.tell(as_json=False)
        return serving.tell(given, _of_all(ended, done), _Graded(record, said, parsed[-1].metadata.name))


def template_of(document: Document) -> TrainingJob:
    """The job that a document is, or that a search's trials are."""
    return document.template if isinstance(document, TuningJob) else document


@contextmanager
def _record(
    documents: Sequence[Document], store: str | None, environ: Mapping[str, str]
) -> Iterator[PipelineRecord]:
    _, opened = open_store_of(template_of(documents[0]), environ, store=store, probe=True)
    try:
        yield PipelineRecord(opened, keys.pipeline(uid_of(documents)))
    finally:
        opened.close()


def _forecast(
    given: argparse.Namespace,
    record: PipelineRecord,
    documents: Sequence[Document],
    environ: Mapping[str, str],
) -> PipelineForecast | None:
    """What all stages are to take, said before the first one; None if that cannot be rehearsed."""
    said = record.forecast()
    if said is None and not record.runs():
        stages = sys.stderr if given.json else sys.stdout

        def tell(text: str) -> None:
            if not given.quiet and not given.json:
                print(f"{text} …", file=stages, flush=True)

        try:
            said = record.begin(pipeline_plan.forecast(documents, environ, tell=tell))
        except JobFailed as error:
            tell(f"not forecast, because a rehearsal has failed: {error}")
    if said is not None and not given.json and not given.quiet:
        print()
        for line in plan_pipeline.table(said):
            print(f"  {line}".rstrip())
    return said


def _head(given: argparse.Namespace, text: str) -> None:
    if not given.json and not given.quiet:
        print(f"\n{text}\n", flush=True)


def _of_all(last: Ended, done: Sequence[Mapping[str, Any]]) -> Ended:
    """The end of the pipeline: that of its last document, and as JSON those of all."""
    return replace(last, body={"state": last.body["state"], "stages": list(done)})


@dataclass(frozen=True, slots=True)
class _Graded:
    """Adds the grade of each stage's forecast to the end of a pipeline."""

    record: PipelineRecord
    said: PipelineForecast | None
    last: str

    def __call__(self, ended: Ended, served_seconds: float | None) -> Ended:
        if served_seconds is not None:
            served = StageTaken(document=self.last, stage="serve", seconds=served_seconds)
            if not any(each.stage == "serve" for run in self.record.runs() for each in run.stages):
                self.record.add(RunTaken(stages=[served]))
        if self.said is None:
            return ended
        grades, said = graded(self.said, self.record.runs()), self.said

        def say() -> None:
            ended.say()
            print(f"\nForecast in {duration(said.rehearsal_seconds)} before, and what came:\n")
            for line in plan_pipeline.grades(grades):
                print(f"  {line}".rstrip())

        return replace(ended, body={**ended.body, "forecast": grades}, say=say)
