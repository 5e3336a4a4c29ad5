"""`python -m bench.paper.case_c`: case C, the search for an MLP's network of `manifests/samples/case-c.yaml`.

It runs on the embedded runtime, as many functions at work as there are cores, on 60,000 images of Debian's package
dataset-fashion-mnist, which it installs where it may, else on rendered digits.
"""

import argparse
import asyncio
import os
import tempfile
import time
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from bench.paper import fashion
from bench.paper.accuracy import SAMPLES
from bench.stores import SHARED_MEMORY
from sapflow.client import tuning
from sapflow.spec import tuning_document
from sapflow.spec.tuning_job import TuningJob
from sapflow.text import dollars, percent
from sapflow.tuning.run import state_of
from sapflow.tuning.state import State

SHOWN = 10


def job_of(trials: int | None) -> TuningJob:
    """The sample's search on the images that there are; `trials` of them, None: as many as it says."""
    body: dict[str, Any] = yaml.safe_load((SAMPLES / "case-c.yaml").read_text())
    spec = body["spec"]
    given = spec["template"]["spec"]["data"]
    spec["template"]["spec"]["data"] = {"batchSize": given["batchSize"], **fashion.data()}
    if trials is not None:
        spec["maxTrials"] = trials
    return tuning_document.parse(body)


def measure(job: TuningJob, folder: str) -> tuple[dict[str, Any], State, float, float]:
    """The outcome of a whole search, its state, and the seconds of the cut and of the search."""
    with tuning.open_tuning(job, os.environ, store=folder) as opened:
        began = time.monotonic()
        manifest = tuning.prepare(opened, os.environ, lambda stage: None)
        cut = time.monotonic()
        outcome = asyncio.run(tuning.search(opened, manifest, os.environ))
        ended = time.monotonic()
        state = asyncio.run(state_of(opened.store, opened.prefix, job))
    return outcome, state, cut - began, ended - cut


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.paper.case_c", description=__doc__)
    parser.add_argument("--trials", type=int, help="another number than the sample's")
    parser.add_argument("--store", help="a folder that keeps the search; the default is one that is removed")
    given = parser.parse_args()
    job, before = job_of(given.trials), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY, prefix="sapflow-bench-") as folder:
        outcome, state, cut, took = measure(job, given.store or folder)
    _print(job, outcome, state)
    counts = ", ".join(f"{number} {phase}" for phase, number in outcome["trials"].items())
    full = state.settings.length * outcome["trials"]["begun"]
    print(f"trials: {counts}; {state.units} epochs of {full} that all would have had")
    print(
        f"best accuracy {percent(outcome['objective'])}; {took:.0f} s, {cut:.0f} s before for the data; "
        f"{dollars(outcome['account']['costUSD'])}"
    )
    print(f"load {before:.1f} before, {os.getloadavg()[0]:.1f} after")


def _print(job: TuningJob, outcome: dict[str, Any], state: State) -> None:
    table = Table(title=f"the best of {len(state.trials)} trials on {job.template.spec.data.source}")
    for name in ("trial", "hidden", "activation", "learning rate", "epochs", "accuracy", "cost"):
        table.add_column(name, justify="right")
    for each in outcome["top"][:SHOWN]:
        values, trial = each["parameters"], state.trials[each["trial"]]
        table.add_row(
            str(each["trial"]),
            str(values["spec.model.args.hidden"]),
            str(values["spec.model.args.activation"]),
            f"{values['spec.optimizer.learningRate']:.4f}",
            str(trial.at),
            percent(each["objective"]),
            dollars(each["costUSD"]),
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
