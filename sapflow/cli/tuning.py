"""`sapflow run`, `status` and `validate` for a search: the same commands, told by the kind in the YAML."""

import argparse
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sapflow.cli.display_options import shown
from sapflow.cli.ended import Clock, Ended
from sapflow.cli.jobs import is_file, job_in, make_importable, read_document, search_in, session_of
from sapflow.cli.output import error_body, exit_code, local_path, location, print_json, report_error
from sapflow.cli.stop import Stopped, run_until_stopped, stoppable
from sapflow.client import survey, tuning
from sapflow.client.answering import result_of
from sapflow.client.session import Session, open_session, store_url, uid_named
from sapflow.client.tuning import TuningSession
from sapflow.errors import JobFailed, SpecError
from sapflow.monitoring.display import spread_line
from sapflow.monitoring.tuning_display import TuningDisplay, in_short, value_text
from sapflow.monitoring.tuning_displays import open_tuning_display
from sapflow.planning.pipeline import StageKind
from sapflow.quantities.metric import in_words
from sapflow.records.evaluations import of_held_out
from sapflow.spec import tuning_document
from sapflow.spec.trial_names import trial_named
from sapflow.spec.tuning_job import TuningJob
from sapflow.spec.tuning_problems import of_template
from sapflow.text import count, dollars, duration
from sapflow.training import estimate
from sapflow.tuning.data_check import check_data
from sapflow.tuning.forecast.record import summary

_OF_JOBS_ALONE = {
    "workers": "--workers",
    "openwhisk": "--openwhisk",
    "metrics": "--metrics",
}


def named(name: str, store: str | None, environ: Mapping[str, str]) -> TuningSession | Session | None:
    """The search, or the job, that a YAML file is of, or a search's trial; of a name in the store only a search, else
    None.

    Raises DataError, SpecError, StoreError.
    """
    if trial_named(name) is not None:
        return session_of(name, store, environ)
    if not is_file(name):
        return tuning.find_tuning(uid_named(name, store), environ, store=store)
    document = read_document(name)
    if tuning_document.is_tuning(document):
        return tuning.open_tuning(search_in(document, name), environ, store=store, probe=False)
    return open_session(job_in(document, name), environ, store=store, probe=False)


def run(given: argparse.Namespace, document: object, environ: Mapping[str, str]) -> Ended:
    """Run a search to its end, and tell how it has ended. Raises SapflowError, Stopped."""
    for name, option in _OF_JOBS_ALONE.items():
        if getattr(given, name, None) is not None:
            raise SpecError([(option, "is for a TrainingJob, and this is a TuningJob: leave it out")])
    job = search_in(document, given.file)
    environ = make_importable(job.template, given.file, environ, given.store)
    with tuning.open_tuning(job, environ, store=given.store) as opened:
        return _run(given, opened, environ)


def _run(given: argparse.Namespace, opened: TuningSession, environ: Mapping[str, str]) -> Ended:
    display = _display(given, opened)
    before, clock = opened.outcome(), Clock(opened.job.metadata.name, "prepare")
    try:
        with stoppable(), display:
            if given.again:
                opened.forget()
            manifest = tuning.prepare(opened, environ, display.stage, display.cut)
            outcome = run_until_stopped(
                tuning.search(
                    opened,
                    manifest,
                    environ,
                    display,
                    max_instances=given.max_instances,
                    ready=lambda: _begin(opened, display, clock),
                )
            )
    except Stopped as stop:
        return replace(_interrupted(given, opened, display, stop), taken=clock.taken())
    except JobFailed as error:
        return replace(_failed(opened, error), taken=clock.taken())
    ended = _ended(opened, outcome, environ)
    return ended if outcome == before else replace(ended, taken=clock.taken(_costs(opened, outcome)))


def _begin(opened: TuningSession, display: TuningDisplay, clock: Clock) -> None:
    clock.next("tune")
    display.stage(_what_is_run(opened))


def _costs(opened: TuningSession, outcome: Mapping[str, Any]) -> dict[StageKind, float]:
    """The dollars of the preparation, which was before the search's own forecast, and of what came after it."""
    said = opened.forecast()
    if said is None:
        return {}
    prepared = said.cost_usd_before
    return {"prepare": prepared, "tune": float(outcome["account"]["costUSD"]) - prepared}


def _ended(opened: TuningSession, outcome: dict[str, Any], environ: Mapping[str, str]) -> Ended:
    def say() -> None:
        print(f"{opened.uid} has ended.\n")
        _print_lines(_outcome_lines(opened.job, outcome))
        if "uri" in outcome and (path := local_path(outcome["uri"])) is not None:
            print(f"\nTry it on held-out samples:\n  {shlex.join(['sapflow', 'predict', path])}")

    body = {"state": "Succeeded", "search": opened.uid, "store": opened.url, **_with_path(outcome)}
    model = result_of(opened, f"trial {outcome['trial']}") if "uri" in outcome else None
    return Ended(0, body, say, model, opened.job.spec.serve, environ)


def _failed(opened: TuningSession, error: JobFailed) -> Ended:
    def say() -> None:
        print(f"{opened.uid} has failed ({error.reason}).", file=sys.stderr)
        report_error(error, as_json=False)

    body = {"state": "Failed", "search": opened.uid, "store": opened.url, "error": error_body(error)}
    return Ended(exit_code(error), body, say)


def _what_is_run(opened: TuningSession) -> str:
    spec = opened.job.spec
    trials = "" if spec.max_trials is None else f"{count(spec.max_trials, 'trial')}, "
    return f"searching {opened.uid}: {trials}{spec.search.sampler}, {spec.prune.name} prunes"


def _display(given: argparse.Namespace, opened: TuningSession) -> TuningDisplay:
    return open_tuning_display(
        opened.job,
        **shown(given),
        title=f"{opened.uid}: at most {count(opened.job.spec.max_workers, 'call')} at once, store "
        f"{location(opened.url)}",
    )


def _interrupted(
    given: argparse.Namespace, opened: TuningSession, display: TuningDisplay, stop: Stopped
) -> Ended:
    ended = display.progress.ended
    arguments = [each for each in given.arguments if each != "--again" or not display.progress.begun]

    def say() -> None:
        print(
            f"\n{opened.uid} was stopped, {count(ended, 'trial')} ended; nothing of it runs any more. To go on from "
            f"there, run the same command again:\n  {shlex.join(['sapflow', *arguments])}",
            file=sys.stderr,
        )

    body = {"state": "Interrupted", "search": opened.uid, "store": opened.url, "ended": ended}
    return Ended(stop.exit_code, {**body, "exitCode": stop.exit_code}, say)


def status(given: argparse.Namespace, opened: TuningSession) -> int:
    """`sapflow status` of a search."""
    body = status_of(opened)
    if given.json:
        print_json(body)
    else:
        say_status(opened, body)
    return 0


def say_status(opened: TuningSession, body: Mapping[str, Any]) -> None:
    """Print a search's state for people."""
    print(body["search"])
    lines = [("state", body["state"]), ("store", location(body["store"]))]
    if "result" in body:
        lines += _outcome_lines(opened.job, body["result"])
    else:
        lines += _progress_lines(opened.job, body)
    _print_lines(lines)
    if body["state"] == "Unfinished":
        print("Unfinished: at work, or interrupted; `sapflow run` with its YAML goes on with every trial.")


def status_of(opened: TuningSession) -> dict[str, Any]:
    """A search's state as a JSON value."""
    progress, ended = tuning.progress_of(opened)
    outcome = opened.outcome()
    state = "Pending" if not progress.begun else "Unfinished"
    if ended is not None:
        state = "Failed" if outcome is None else "Succeeded"
    body: dict[str, Any] = {
        "search": opened.uid,
        "store": opened.url,
        "state": state,
        "metric": progress.metric,
        "trials": progress.numbers,
        "costUSD": progress.dollars,
        "top": [each.to_json() for each in progress.top],
    }
    if (said := opened.forecast()) is not None:
        body["forecast"] = summary(said)
    return body if state != "Succeeded" or outcome is None else {**body, "result": _with_path(outcome)}


def line_of(body: Mapping[str, Any]) -> str:
    """A search's state in one line, for lists."""
    trials = body["trials"]
    most = f" of {trials['most']:,}" if trials.get("most") else ""
    parts = [f"trial {trials['begun']:,}{most}"]
    if body["top"]:
        parts.append(f"best {body['metric']} {value_text(body['metric'], body['top'][0]['objective'])}")
    return "  ".join([*parts, dollars(body["costUSD"])])


def validate(
    given: argparse.Namespace, document: object, environ: Mapping[str, str]
) -> tuple[dict[str, Any], Callable[[], None]]:
    """`sapflow validate` of a search: its fields, and its template with data and model. What there is as JSON, and what
    prints it."""
    job = search_in(document, given.file)
    template = job.template
    make_importable(template, given.file, environ)
    found = survey.survey(template.spec.data, store_url(template, None), template.spec.algorithm.seed)
    check_data(job, found.manifest)
    try:
        needs = estimate.examine(template, found.manifest)
    except SpecError as error:
        raise of_template(error) from error
    spec = job.spec
    facts = {
        "search": tuning.uid_of(job),
        "parameters": [each.path for each in spec.parameters],
        "trialsAtOnce": spec.trials_at_once,
        "maxTrials": spec.max_trials,
        "model": {"parameters": needs.parameters},
    }
    known = {name: value for name, value in facts.items() if value is not None}
    return known, lambda: _print_valid(job, needs.parameters)


def _print_valid(job: TuningJob, parameters: int) -> None:
    spec = job.spec
    print(f"{job.metadata.name} is valid.\n")
    names = ", ".join(each.path for each in spec.parameters)
    most = "" if spec.max_trials is None else f", {count(spec.max_trials, 'trial')}"
    _print_lines(
        [
            ("searched", names),
            ("by", f"{spec.search.sampler}{most}, {spec.prune.name} prunes"),
            ("objective", f"{spec.objective.metric}, {spec.objective.direction}"),
            ("at once", f"{count(spec.trials_at_once, 'trial')}, {count(spec.max_workers, 'call')}"),
            ("template", f"{count(parameters, 'parameter')}, data {job.template.spec.data.source}"),
        ]
    )


def _outcome_lines(job: TuningJob, outcome: Mapping[str, Any]) -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    if "trial" in outcome:
        metric = job.spec.objective.metric
        lines += [
            ("best trial", f"{outcome['trial']:,}, {metric} {value_text(metric, outcome.get('objective'))}"),
            ("parameters", in_short(outcome["parameters"])),
            ("validation", in_words(of_held_out(outcome))),
        ]
    else:
        lines.append(("best trial", "none has a value"))
    lines += _counts_lines(outcome["trials"], outcome["account"])
    if "forecast" in outcome:
        lines.append(("forecast", spread_line(outcome["forecast"])))
    if "uri" in outcome:
        lines += [("model", location(outcome["uri"])), ("SHA-256", outcome["sha256"])]
    return lines


def _progress_lines(job: TuningJob, body: Mapping[str, Any]) -> list[tuple[str, str]]:
    lines = []
    if body["top"]:
        best, metric = body["top"][0], job.spec.objective.metric
        lines += [
            ("best trial", f"{best['trial']:,}, {metric} {value_text(metric, best['objective'])}"),
            ("parameters", in_short(best["parameters"])),
        ]
    lines += _counts_lines(body["trials"], {"costUSD": body["costUSD"]})
    if "forecast" in body:
        lines.append(("forecast", spread_line(body["forecast"])))
    return lines


def _counts_lines(trials: Mapping[str, int], account: Mapping[str, float]) -> list[tuple[str, str]]:
    kinds = ("finished", "stopped", "failed", "paused", "running")
    counted = ", ".join(f"{trials[kind]:,} {kind}" for kind in kinds if trials.get(kind))
    lines = [("trials", f"{trials['begun']:,}" + (f": {counted}" if counted else ""))]
    if "seconds" in account:
        lines.append(("time", f"{duration(account['seconds'])}, that of all trials together"))
    return [*lines, ("cost", dollars(account["costUSD"]))]


def _with_path(outcome: Mapping[str, Any]) -> dict[str, Any]:
    path = local_path(outcome["uri"]) if "uri" in outcome else None
    return dict(outcome) if path is None else {**outcome, "path": str(Path(path).resolve())}


def _print_lines(lines: list[tuple[str, str]]) -> None:
    width = max((len(name) for name, _ in lines), default=0)
    for name, value in lines:
        print(f"  {name:<{width}}  {value}")
