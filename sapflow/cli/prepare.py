"""`sapflow prepare`: makes blocks of a job's raw data, without training."""

import argparse
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from sapflow.cli.display_options import add_display, display_of, positive
from sapflow.cli.jobs import add_store, job_in, read_documents, search_in
from sapflow.cli.output import location, print_json, report_error
from sapflow.cli.stop import Stopped, run_until_stopped, stoppable
from sapflow.client import preparation, prepared_copy, session
from sapflow.client.job_data import find_manifest
from sapflow.data.manifest import Manifest
from sapflow.errors import JobFailed, SpecError
from sapflow.monitoring.display import Display
from sapflow.objects.stores.factory import credentials_for, open_store
from sapflow.spec.tuning_document import is_tuning
from sapflow.text import count, duration

_DESCRIPTION = """\
Make blocks of the raw data of a job, by spec.data.prepare, on this machine and without training. They lie in the
store, where `sapflow run` of the same data finds them; with --to they are also copied to a place of yours.

Whatever ends it, run the same command again: it goes on, and the blocks are the same, bit for bit."""

_EPILOG = """\
examples:
  sapflow prepare job.yaml
  sapflow prepare job.yaml --to prepared/
  sapflow prepare job.yaml --to prepared/ --format parquet
  sapflow prepare job.yaml --to 's3://bucket/prepared?endpoint=http://localhost:9000'"""


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "prepare",
        help="make blocks of raw data, without training",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "file", metavar="FILE", help="the TrainingJob or TuningJob, as YAML or JSON (- for standard input)"
    )
    parser.add_argument(
        "--to", metavar="DIR|URL", help="a directory, or s3://bucket/prefix, to copy the data to"
    )
    parser.add_argument(
        "--format",
        choices=("blocks", "parquet"),
        default="blocks",
        help="with --to: blocks as jobs read them, or tables (default: %(default)s)",
    )
    add_store(parser)
    parser.add_argument(
        "--max-instances",
        type=positive,
        metavar="N",
        help="functions at work at once (default: one for each of this machine's cores)",
    )
    add_display(parser)
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object; progress as JSON lines on stderr"
    )
    parser.set_defaults(command=run)


def run(given: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Returns exit code 0 once the data is prepared. Raises SapflowError, Stopped."""
    if given.to is None and given.format != "blocks":
        raise SpecError([("--format", "says how a copy is written: name a place by --to")])
    document = read_documents(given.file)[0]
    job = search_in(document, given.file).template if is_tuning(document) else job_in(document, given.file)
    if job.spec.data.prepare is None:
        raise SpecError(
            [("spec.data.prepare", "is not there, so there is nothing to prepare: say what is to be done")]
        )
    started = time.monotonic()
    with session.open_session(job, environ, store=given.store) as opened:
        title = f"{opened.uid}: preparation, store {location(opened.url)}"
        display = display_of(given, title, job.price.platform)
        try:
            with stoppable(), display:
                manifest = _prepared(given, opened, environ, display)
                copied = _copied(given, opened, environ, manifest, display)
        except Stopped as stop:
            print("\nstopped; the same command goes on from there", file=sys.stderr)
            return stop.exit_code
        except JobFailed as error:
            return report_error(error, as_json=given.json)
        return _say(given, opened, manifest, copied, time.monotonic() - started)


def _prepared(
    given: argparse.Namespace, opened: session.Session, environ: Mapping[str, str], display: Display
) -> Manifest:
    resolved = opened.settle()
    if resolved.area is not None and (found := find_manifest(opened)) is not None:
        return found
    return run_until_stopped(
        preparation.alone(
            resolved, opened.store, opened.url, environ, display, max_instances=given.max_instances
        )
    ).manifest


def _copied(
    given: argparse.Namespace,
    opened: session.Session,
    environ: Mapping[str, str],
    manifest: Manifest,
    display: Display,
) -> int | None:
    """The number of files that were copied; None if no copy was asked for."""
    if given.to is None:
        return None
    display.stage(f"copying to {given.to}")
    url = session.absolute(given.to)
    with closing(open_store(url, credentials_for(url, environ))) as target:
        return prepared_copy.copy(opened.store, opened.resolved.data_prefix, manifest, target, given.format)


def _say(
    given: argparse.Namespace, opened: session.Session, manifest: Manifest, copied: int | None, seconds: float
) -> int:
    place = f"{location(opened.url)}/{opened.resolved.data_prefix}"
    if given.json:
        body: dict[str, Any] = {
            "job": opened.uid,
            "store": opened.url,
            "data": place,
            "train": manifest.train_samples,
            "validation": manifest.validation_samples,
            "task": manifest.task,
            "columns": list(manifest.columns),
            "classNames": list(manifest.class_names),
            "preparation": manifest.preparation,
            "seconds": seconds,
        }
        if copied is not None:
            body |= {"to": given.to, "files": copied}
        print_json(body)
        return 0
    task = manifest.task_for().described
    samples = f"{manifest.train_samples:,} samples, {manifest.validation_samples:,} held out"
    features = (
        f"{count(len(manifest.columns), 'feature')}"
        if manifest.columns
        else f"samples of {list(manifest.shape)}"
    )
    print(f"prepared in {duration(seconds)}: {samples}; {features}; {task}")
    print(f"  blocks in {place}")
    if copied is not None:
        print(f"  {count(copied, 'file')} in {given.to}")
    return 0
