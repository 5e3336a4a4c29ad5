"""`sapflow run`: checks a job, cuts its data, trains it, and reports the result."""

import argparse
import shlex
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sapflow.cli import local_metrics, openwhisk, pipeline, serving, tuning
from sapflow.cli.display_options import add_display, display_of, positive
from sapflow.cli.ended import Clock, Ended
from sapflow.cli.jobs import add_store, job_in, make_importable, read_documents
from sapflow.cli.output import error_body, exit_code, local_path, location, report_error
from sapflow.cli.stop import Stopped, run_until_stopped, stoppable
from sapflow.client import inputs, local_run, session
from sapflow.client.answering import result_of
from sapflow.client.session import Session
from sapflow.errors import JobFailed, SpecError
from sapflow.monitoring.display import Display, forecast_line
from sapflow.planning.extent import Extent
from sapflow.quantities.metric import in_order, metric
from sapflow.records.evaluations import chosen_in_words, of_held_out
from sapflow.spec.tuning_document import is_tuning
from sapflow.steps.observer import Observers
from sapflow.text import count, dollars, duration

if TYPE_CHECKING:
    from sapflow.monitoring.metrics import MetricsObserver

_DESCRIPTION = """\
Train a job on this machine. Its functions are local processes, which are started on demand and limited to the
memory in spec.memory.

The store keeps the state of every step. After any interruption, run the same command again: it continues from
the last step and ends with the same weights, bit for bit. The same YAML in the same store is the same job; only
limits and checkpoint may change.

A TuningJob is a search: its trials share the functions, go on after any interruption, and the best one's model is
the result. Its limits may be raised, after its end too.

A file of several documents is a pipeline: they run one after the other, and a job takes the parameters of the search
that its parametersFrom names. Where the last one has a spec.serve, its model is asked for a decision at the end."""

_EPILOG = """\
examples:
  sapflow run manifests/samples/digits.yaml
  sapflow run manifests/samples/tune.yaml
  sapflow run pipeline.yaml --serve             prepare, search, train, and then answer requests
  sapflow run job.yaml --store /dev/shm/sapflow --max-instances 4
  sapflow run job.yaml --store 's3://bucket/prefix?endpoint=http://localhost:9000'
  sapflow run job.yaml --json > outcome.json
  sapflow run job.yaml --workers 8
  sapflow run job.yaml --openwhisk https://whisk.example --worker-image NAME --merger-image NAME"""

NOT_BEGUN = "is for a job that is half done, and this one has not begun: set spec.workers instead"


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "run",
        help="train a job, or search for its parameters, on this machine",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "file", metavar="FILE", help="TrainingJobs and TuningJobs, as YAML or JSON (- for standard input)"
    )
    add_store(parser)
    parser.add_argument(
        "--max-instances",
        type=positive,
        metavar="N",
        help="invocations at work at once (default: this machine's cores); more workers take turns",
    )
    parser.add_argument(
        "--again",
        action="store_true",
        help="train the job from the beginning: what it has in the store is removed first",
    )
    parser.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="go on with N workers, where the job is half done: what is left of the epoch is dealt to them",
    )
    serving.add_to(parser)
    local_metrics.add_to(parser)
    openwhisk.add_to(parser)
    add_display(parser)
    parser.add_argument(
        "--json", action="store_true", help="the outcome as one JSON object; progress as JSON lines on stderr"
    )
    parser.set_defaults(command=run)


def run(given: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Returns exit code 0 once all in the file has its result. Raises SapflowError, Stopped."""
    serving.check(given)
    documents = read_documents(given.file)
    if len(documents) > 1:
        return pipeline.run(given, documents, environ, run_document)
    return serving.tell(given, run_document(given, documents[0], environ))


def run_document(given: argparse.Namespace, document: object, environ: Mapping[str, str]) -> Ended:
    """Run a job or a search of a file, and tell how that has ended. Raises SapflowError, Stopped."""
    if is_tuning(document):
        return tuning.run(given, document, environ)
    job = job_in(document, given.file)
    environ = make_importable(job, given.file, environ, given.store)
    with session.open_session(job, environ, store=given.store) as opened:
        return _run(given, opened, environ)


def _run(given: argparse.Namespace, opened: Session, environ: Mapping[str, str]) -> Ended:
    if given.openwhisk is not None:
        openwhisk.check(given, opened, environ)
    outcome = opened.outcome()
    if outcome is not None and not given.again:
        inputs.check(opened, environ)
        return _finished(given, opened, outcome, environ, already=True)
    sender = None
    if given.openwhisk is not None:
        allowed = openwhisk.limits(given, opened, environ)
        sender = openwhisk.sender(given, opened, environ, allowed)
    display, clock = _display(given, opened), Clock(opened.job.metadata.name, "prepare")
    try:
        with stoppable(), display, _metrics(given, opened, display) as metrics:
            if given.again:
                opened.forget()
            if given.workers is not None and not opened.started():
                raise SpecError([("--workers", NOT_BEGUN)])
            ready = local_run.prepare(
                opened, display, environ, run=run_until_stopped, max_instances=given.max_instances
            )
            if ready.account.seconds > 0:
                clock.next("train")
            else:
                clock.stage = "train"
            manifest, flops = ready.manifest, ready.forward_flops
            observer = Observers(display)
            if metrics is not None:
                metrics.begin(Extent.of(opened.job, manifest.train_samples))
                observer = Observers(metrics, display)
            if sender is not None:
                outcome = run_until_stopped(
                    openwhisk.train(opened, manifest, sender, observer, flops, given.workers, ready.account)
                )
            else:
                outcome = run_until_stopped(
                    session.train(
                        opened,
                        manifest,
                        environ,
                        max_instances=given.max_instances,
                        observer=observer,
                        on_runtime=display.watch,
                        forward_flops=flops,
                        workers=given.workers,
                        account=ready.account,
                    )
                )
    except Stopped as stop:
        return replace(_interrupted(given, opened, display, stop), taken=clock.taken())
    except JobFailed as error:
        return replace(_failed(given, opened, error), taken=clock.taken())
    ended = _finished(given, opened, outcome, environ, already=False)
    return replace(ended, taken=clock.taken({"train": outcome["account"]["costUSD"]}))


def _metrics(
    given: argparse.Namespace, opened: Session, display: Display
) -> AbstractContextManager["MetricsObserver | None"]:
    def say(url: str) -> None:
        if given.quiet:
            print(f"metrics at {url}", file=sys.stderr)
        display.emit({"event": "metrics", "url": url})

    return local_metrics.serving(given.metrics, opened.job, say)


def _display(given: argparse.Namespace, opened: Session) -> Display:
    job = opened.job
    workers = count(given.workers or job.spec.workers, "worker")
    return display_of(given, f"{opened.uid}: {workers}, store {location(opened.url)}", job.price.platform)


def _finished(
    given: argparse.Namespace,
    opened: Session,
    outcome: dict[str, Any],
    environ: Mapping[str, str],
    *,
    already: bool,
) -> Ended:
    def say() -> None:
        again = f" already. To train it anew: {_command(given, again=True)}" if already else "."
        print(f"{opened.uid} has finished{again}\n")
        _summary(given, opened, outcome)

    model = result_of(opened, str(outcome["version"]))
    return Ended(0, _outcome_body(opened, outcome), say, model, opened.job.spec.serve, environ)


def _failed(given: argparse.Namespace, opened: Session, error: JobFailed) -> Ended:
    hint = _export_hint(given, opened, error.version)

    def say() -> None:
        print(f"{opened.uid} has failed ({error.reason}).", file=sys.stderr)
        report_error(error, as_json=False)
        if hint:
            print(f"{hint.strip()}", file=sys.stderr)

    body = {"state": "Failed", "job": opened.uid, "store": opened.url, "error": error_body(error)}
    return Ended(exit_code(error), body, say)


def _interrupted(given: argparse.Namespace, opened: Session, display: Display, stop: Stopped) -> Ended:
    code, progress = stop.exit_code, display.progress
    done = 0 if progress is None else progress.done
    command = _command(given, again=given.again and progress is None)
    where = f" after {progress.extent.unit} {done:,} of {progress.extent.total:,}" if progress else ""

    def say() -> None:
        print(
            f"\n{opened.uid} was stopped{where}; {_what_runs(given)}. To go on from there, run the same "
            f"command again:\n  {command}{_export_hint(given, opened, done)}",
            file=sys.stderr,
        )

    body = {"state": "Interrupted", "job": opened.uid, "store": opened.url, "done": done, "exitCode": code}
    return Ended(code, body, say)


def _export_hint(given: argparse.Namespace, opened: Session, done: int) -> str:
    """How to get the model of a job that has stopped, where there is one."""
    if done <= 0:
        return ""
    store = [] if given.store is None else ["--store", given.store]
    return f"\nIts model as it stands: {shlex.join(['sapflow', 'export', opened.uid, *store])}"


def _what_runs(given: argparse.Namespace) -> str:
    """What is left at work of a run that was stopped."""
    if given.openwhisk is None:
        return "nothing of it runs any more"
    return (
        "OpenWhisk cancels nothing, so activations that are at work run to their end, and the job's next run "
        "removes what they write"
    )


def _command(given: argparse.Namespace, *, again: bool) -> str:
    arguments = [each for each in given.arguments if each != "--again"]
    return shlex.join(["sapflow", *arguments, *(["--again"] if again else [])])


def _outcome_body(opened: Session, outcome: dict[str, Any]) -> dict[str, Any]:
    body = {"state": "Succeeded", "job": opened.uid, "store": opened.url, **outcome}
    path = local_path(outcome["uri"])
    return body if path is None else {**body, "path": str(Path(path).resolve())}


def _summary(given: argparse.Namespace, opened: Session, outcome: dict[str, Any]) -> None:
    account = outcome["account"]
    price = opened.job.price
    unit = "steps" if opened.job.spec.algorithm.mode == "Sync" else "commits"
    lines: list[tuple[str, str]] = []
    held_out = of_held_out(outcome)
    for name in in_order(held_out):
        lines.append((f"validation {metric(name).label}", metric(name).text(held_out[name])))
    target = opened.job.spec.algorithm.wanted
    if target is not None and not outcome["targetReached"]:
        wanted = metric(target.metric)
        value = wanted.text(target.value) if wanted.share else f"{target.value:g}"
        asked = value if target.metric == "accuracy" else f"{wanted.label} {value}"
        lines.append(("target", f"{asked} was not reached: raise algorithm.epochs, or change the model"))
    if "loss" in outcome:
        lines.append(("training loss", f"{outcome['loss']:.4f}"))
    reached = f", {why}" if (why := chosen_in_words(outcome)) else ""
    lines += [
        (unit, f"{outcome['version']:,} in {duration(account['seconds'])}{reached}"),
        *([("skipped", f"{skipped:,} not finite")] if (skipped := outcome.get("skippedSteps")) else []),
        ("cost", f"{dollars(account['costUSD'])} at {price.name}"),
        *([("forecast", forecast_line(outcome["forecast"]))] if "forecast" in outcome else []),
        (
            "invocations",
            f"{account['invocations']:,} ({count(account['coldStarts'], 'cold start')}, "
            f"{account['retries']:,} repeated, {account['hedges']:,} hedged)",
        ),
        ("model", location(outcome["uri"])),
        ("SHA-256", outcome["sha256"]),
    ]
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        print(f"  {name:<{width}}  {value}")
    path = local_path(outcome["uri"])
    model = [path] if path is not None else [opened.uid, "--store", given.store or opened.url]
    print(f"\nTry it on held-out samples:\n  {shlex.join(['sapflow', 'predict', *model])}")
