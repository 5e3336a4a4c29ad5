"""`sapflow status`: shows the progress of a job, from its store or from its cluster."""

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from sapflow.cli import cluster_status, trial_status, tuning
from sapflow.cli.jobs import add_store, documents_in, file_named, is_file, read_documents, session_of
from sapflow.cli.output import local_path, location, print_json
from sapflow.cli.stop import run_until_stopped
from sapflow.client.job_data import find_manifest
from sapflow.client.kubeconfig import has_cluster
from sapflow.client.searched import SEARCH_NOT_DONE
from sapflow.client.session import DEFAULT_STORE, Session, absolute, find_session, jobs_in, open_session
from sapflow.client.tuning import TuningSession, find_tuning, open_tuning
from sapflow.data.manifest import Manifest
from sapflow.driver import preparation_forecast
from sapflow.driver.early_account import EarlyAccount
from sapflow.errors import DataError, SapflowError
from sapflow.monitoring.display import forecast_line, spread_line
from sapflow.objects import keys
from sapflow.planning.extent import Extent
from sapflow.quantities.metric import in_order, in_words
from sapflow.records.commits import Commit, Records
from sapflow.records.evaluations import metrics_of
from sapflow.spec.tuning_job import TuningJob
from sapflow.text import count, dollars, duration

_DESCRIPTION = """\
Show the progress of a job, or of all jobs of a directory or a cluster. For local runs only the store is read, in which
a running job and an interrupted one look the same: both are Unfinished. With --namespace, --all-namespaces, --context,
--kubeconfig or --watch, and for a name that the local store does not know, the cluster of the kubeconfig is asked."""

_EPILOG = """\
examples:
  sapflow status                          all jobs in .sapflow
  sapflow status job.yaml
  sapflow status digits-1a2b3c4d --store /data/sapflow --json
  sapflow status tune.yaml/trials/7       a trial of a search; trials/best is the best one
  sapflow status digits -n team           a job in a cluster: state, progress, pods, result, warnings
  sapflow status digits --watch           until it ends: exit code 0 if it succeeded, 1 if it failed
  sapflow status -A                       all jobs of the cluster"""

_EVALUATIONS_TRIED = 16
"""Versions that may be evaluated after the newest one that the last commit knows of."""


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "status",
        help="how far a job is",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "job", metavar="FILE|JOB", nargs="?", help="the job's YAML, or its name in store or cluster"
    )
    add_store(parser)
    cluster_status.add_to(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(command=status)


def status(given: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Returns exit code 0 if the job is known. Raises DataError, StoreError, and errors of clusters."""
    if cluster_status.asked(given):
        return cluster_status.status(given, environ)
    if given.job is None:
        return _list(given, environ)
    if is_file(given.job) and len(documents := read_documents(given.job)) > 1:
        return _of_pipeline(given, documents, environ)
    try:
        found = tuning.named(given.job, given.store, environ)
        if isinstance(found, TuningSession):
            with found:
                return tuning.status(given, found)
        with found or session_of(given.job, given.store, environ) as session:
            body = run_until_stopped(_status(session))
            body |= trial_status.describe(session, body["state"])
    except DataError as error:
        if file_named(given.job) is not None or given.store is not None or not has_cluster(environ):
            raise
        return cluster_status.status_elsewhere(given, environ, error)
    if given.json:
        print_json(body)
    else:
        _print(body)
    return 0


def _of_pipeline(given: argparse.Namespace, documents: Sequence[object], environ: Mapping[str, str]) -> int:
    """The states of the jobs and searches of a file, one after the other."""
    bodies: list[dict[str, Any]] = []
    for document in documents_in(documents, given.job):
        if isinstance(document, TuningJob):
            with open_tuning(document, environ, store=given.store, probe=False) as search:
                bodies.append(tuning.status_of(search))
                if not given.json:
                    tuning.say_status(search, bodies[-1])
            continue
        try:
            with open_session(document, environ, store=given.store, probe=False) as session:
                bodies.append(run_until_stopped(_status(session)))
        except SEARCH_NOT_DONE as error:
            bodies.append({"job": document.metadata.name, "state": "Waiting", "message": str(error)})
        if not given.json:
            _print(bodies[-1])
    if given.json:
        print_json({"stages": bodies})
    return 0


def _list(given: argparse.Namespace, environ: Mapping[str, str]) -> int:
    store = given.store or DEFAULT_STORE
    names = jobs_in(store)
    if names is None:
        raise DataError(f"jobs of {store} are not listed: name one, by its YAML or its name in the store")
    bodies = []
    for name in names:
        try:
            if (search := find_tuning(name, environ, store=given.store)) is not None:
                with search:
                    bodies.append({"job": name, **tuning.status_of(search)})
                continue
            with find_session(name, environ, store=given.store) as session:
                bodies.append(run_until_stopped(_status(session)))
        except SapflowError as error:
            bodies.append({"job": name, "state": "Unreadable", "message": str(error)})
    if given.json:
        print_json({"jobs": bodies})
        return 0
    if not bodies:
        print(f"no jobs in {location(absolute(store))}")
    width = max((len(body["job"]) for body in bodies), default=0)
    for body in bodies:
        print(f"{body['job']:<{width}}  {body['state']:<10}  {_line(body)}")
    return 0


async def _status(session: Session) -> dict[str, Any]:
    """A job's state as a JSON value."""
    records = Records(session.store, session.prefix)
    body: dict[str, Any] = {"job": session.uid, "store": session.url, "state": "Pending"}
    body |= {"prices": session.job.price.platform, "priceTable": session.job.price.name}
    outcome = await asyncio.to_thread(session.outcome)
    last = await records.last()
    if last is not None:
        plan = await records.plan(last.plan)
        body |= {"structure": list(plan.structure), "shards": plan.shards}
        if plan.cells is not None:
            body["cells"] = max(map(max, plan.cells)) + 1
        first = await records.commit(0)
        if first is not None and first.forecast is not None:
            body["forecast"] = {"seconds": first.forecast.seconds, "costUSD": first.forecast.dollars}
        body["state"] = "Unfinished"
        manifest = await asyncio.to_thread(find_manifest, session)
        body |= _prepared(session, manifest) | _progress(session, last, manifest)
        if (evaluation := await _newest_evaluation(session, records, last, manifest)) is not None:
            body["evaluation"] = evaluation
    elif (early := await EarlyAccount(records).read()).invocations:
        body |= {"costUSD": early.cost_usd, "seconds": early.seconds}
    if (said := await preparation_forecast.recorded(records)) is not None:
        body["preparation"] = said
    failure = await records.read(keys.failure(session.prefix, 0 if last is None else last.version))
    if failure is not None and outcome is None:
        body |= {"state": "Failed", "failure": failure}
    if outcome is not None:
        body |= {"state": "Succeeded", "result": outcome}
        if "forecast" in outcome:
            body["forecast"] = outcome["forecast"]
        path = local_path(outcome["uri"]) if "uri" in outcome else None
        if path is not None:
            body["path"] = path
    return body


def _prepared(session: Session, manifest: Manifest | None) -> dict[str, Any]:
    """What came of the rows of a job whose data was prepared."""
    if manifest is None or not manifest.preparation:
        return {}
    found = {"rows": manifest.raw_rows, "rejectedRows": manifest.rejected_rows}
    return {"prepared": {**found, "rejected": keys.rejected(session.resolved.data_prefix)}}


def _progress(session: Session, last: Commit, manifest: Manifest | None) -> dict[str, Any]:
    body: dict[str, Any] = {
        "version": last.version,
        "epoch": last.cursor.epoch,
        "costUSD": last.account.cost_usd,
        "seconds": last.account.seconds,
    }
    if last.measured.loss is not None:
        body["loss"] = last.measured.loss
    if last.skips:
        body["skipped"] = last.skips
    if last.measured.accuracy is not None:
        body["accuracy"] = last.measured.accuracy
    if manifest is not None:
        extent = Extent.of(session.job, manifest.train_samples).after(last)
        body |= {"done": extent.done(last), "total": extent.total, "unit": extent.unit}
    return body


async def _newest_evaluation(
    session: Session, records: Records, last: Commit, manifest: Manifest | None
) -> dict[str, Any] | None:
    """The newest evaluation: of the last version, of one that was due after the newest that the last commit knows to be
    judged, or of that one."""
    if manifest is not None and not manifest.validation_samples:
        return None
    judged = 0 if last.judged is None else last.judged.through
    tried = [last.version]
    if manifest is not None:
        every = Extent.of(session.job, manifest.train_samples).steps_between_evaluations(session.job)
        due = range(last.version - last.version % every, judged, -every)
        tried += [version for version in due[:_EVALUATIONS_TRIED] if version != last.version]
    for version in [*tried, judged]:
        if version < 1:
            continue
        found = await records.read(keys.evaluation(records.prefix, version))
        if found is not None:
            return dict(found)
    return None


def _line(body: dict[str, Any]) -> str:
    if "trials" in body:
        return tuning.line_of(body)
    parts = []
    if "total" in body:
        parts.append(f"{body['unit']} {body['done']:,}/{body['total']:,}")
    if "evaluation" in body:
        found = metrics_of(body["evaluation"])
        first = in_order(found)[0]
        parts.append(f"validation {in_words({first: found[first]})}")
    if "costUSD" in body:
        parts.append(dollars(body["costUSD"]))
    if "failure" in body:
        parts.append(body["failure"]["reason"])
    return "  ".join(parts) or str(body.get("message", ""))


def _of_rows(prepared: Mapping[str, Any]) -> str:
    kept = f"; see {prepared['rejected']} in its store" if prepared["rejectedRows"] else ""
    return f"{count(prepared['rows'], 'row')} prepared, {prepared['rejectedRows']:,} rejected{kept}"


def _print(body: dict[str, Any]) -> None:
    if body["state"] == "Waiting":
        print(f"{body['job']}\n  state  Waiting: {body['message']}")
        return
    lines: list[tuple[str, str]] = [("state", body["state"]), ("store", location(body["store"]))]
    lines += trial_status.lines(body)
    if "prepared" in body:
        lines.append(("data", _of_rows(body["prepared"])))
    if "preparation" in body:
        lines.append(("preparation", f"forecast {spread_line(body['preparation'])}"))
    if "total" in body:
        lines.append((body["unit"], f"{body['done']:,} of {body['total']:,}, epoch {body['epoch']:,}"))
    if "skipped" in body:
        lines.append(("skipped", f"{count(body['skipped'], body.get('unit', 'step'))}: not finite, left out"))
    if "loss" in body:
        lines.append(("training loss", f"{body['loss']:.4f}"))
    if "structure" in body:
        cut = f", {body['shards']:,} shards" if body["shards"] > 1 else ""
        lines.append(("merge tree", f"{body['structure']}{cut}"))
    if "cells" in body:
        lines.append(("cells", f"{body['cells']:,}"))
    evaluation = body.get("evaluation")
    if evaluation is not None:
        numbers = in_words(metrics_of(evaluation))
        lines.append(("validation", f"{numbers} at version {evaluation['version']:,}"))
    if "costUSD" in body:
        cost = f"{dollars(body['costUSD'])} at {body['priceTable']}"
        lines += [("time", duration(body["seconds"])), ("cost", cost)]
    if "forecast" in body:
        lines.append(("forecast", forecast_line(body["forecast"])))
    if "failure" in body:
        lines.append(("failure", f"{body['failure']['reason']}: {body['failure']['message']}"))
    if "result" in body:
        result = body["result"]
        lines.append(("result", f"version {result['version']:,}"))
        if "uri" in result:
            lines += [("model", location(result["uri"])), ("SHA-256", result["sha256"])]
    print(body["job"])
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        print(f"  {name:<{width}}  {value}")
    if body["state"] == "Unfinished":
        print(
            "Unfinished: at work, or interrupted; `sapflow run` with its YAML goes on from the last commit."
        )
    if body["state"] == "Pending":
        print(f"Nothing of it is trained yet in {location(body['store'])}, {count(0, 'step')} done.")
