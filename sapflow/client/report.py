"""The report about a job, for command line and Python: facts from its store, and the planner's prediction."""

import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from sapflow.client import consent
from sapflow.client.job_data import find_manifest
from sapflow.client.session import Session
from sapflow.errors import DataError, SpecError
from sapflow.monitoring.report import Facts
from sapflow.monitoring.report.facts import Predicted
from sapflow.planning import data_load, search, workload
from sapflow.runtimes.embedded.runtime import available_cores
from sapflow.training import estimate


def with_prediction(
    facts: Facts, session: Session, environ: Mapping[str, str], entrypoints: Iterable[str]
) -> Facts:
    """The facts with the cost model's prediction for the job's own tree, or with the reason why there is none.

    The model is built in a process with the environment `environ`, and only if `entrypoints` has all code that the job
    names: the job may come from a store that others write to.
    """
    job, manifest = session.job, find_manifest(session)
    if not job.spec.algorithm.facts.merged:
        return replace(facts, not_predicted="the cost model covers synchronous steps only")
    if manifest is None:
        return replace(facts, not_predicted="the manifest of the job's data is not in the store any more")
    if missing := consent.lacking(job.spec.model, entrypoints):
        needed = f"the job names code of its own, which is built only with {consent.in_words(missing)}"
        return replace(facts, not_predicted=needed)
    runtime = session.runtime
    try:
        size = estimate.measure_apart(job, manifest, environ, runtime)
    except SpecError as error:
        return replace(facts, not_predicted="; ".join(message for _, message in error.problems))
    constants = workload.constants_of(session.url, runtime)
    instances = available_cores() if runtime == "local" else None
    load = data_load.of(job, manifest)
    work = workload.work_of(job, size, constants, runtime, instances, load=load)
    price = job.price
    said = search.candidate(work, constants, price, facts.structure, facts.plan.shards).prediction
    # With shards the root has two phases, which belong to one level.
    levels = [stage.seconds for stage in said.stages][: len(facts.structure)]
    return replace(facts, predicted=Predicted(said.seconds, said.dollars, tuple(levels)))


def write(path: Path, page: str, remedy: str = "give another path") -> None:
    """Write the page atomically. Raises DataError, which ends with the remedy."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            file.write(page)
        umask = os.umask(0)
        os.umask(umask)
        Path(file.name).chmod(0o666 & ~umask)
        Path(file.name).replace(path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}; {remedy}") from error
