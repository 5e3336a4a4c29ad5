"""`sapflow validate`: checks everything about a job that can be checked without training it."""

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from sapflow.cli import tuning
from sapflow.cli.jobs import job_in, make_importable, read_documents
from sapflow.cli.output import print_json
from sapflow.client import served_model, session, survey
from sapflow.client.session import uid_of
from sapflow.data.advice import batch_warning, held_out, label_warning, split_warning
from sapflow.data.blocks import Manifest
from sapflow.planning import placement
from sapflow.planning.extent import Extent
from sapflow.quantities import structure
from sapflow.quantities.memory import format_bytes
from sapflow.spec import service_document
from sapflow.spec.training_job import TrainingJob
from sapflow.spec.tuning_document import is_tuning
from sapflow.text import count
from sapflow.training import estimate

_DESCRIPTION = """\
Check a job without training it: every field, the data (small sources are read completely), whether the model fits the
data, and whether spec.memory is enough for the model. Nothing is written and nothing is started."""

_EPILOG = """\
examples:
  sapflow validate job.yaml
  sapflow validate job.yaml --json"""


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "validate",
        help="check a job without training it",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "file",
        metavar="FILE",
        help="TrainingJobs, TuningJobs or a ModelService, as YAML or JSON (-: standard input)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(command=validate)


def validate(given: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Returns exit code 0 if nothing is wrong. Raises SpecError, DataError, StoreError."""
    documents = read_documents(given.file)
    checked = [_checked(given, each, environ) for each in documents]
    if given.json:
        found = [facts for facts, _ in checked]
        print_json({"valid": True, **(found[0] if len(found) == 1 else {"documents": found})})
        return 0
    for place, (_, say) in enumerate(checked):
        if place:
            print()
        say()
    return 0


def _checked(
    given: argparse.Namespace, document: object, environ: Mapping[str, str]
) -> tuple[dict[str, Any], Callable[[], None]]:
    """What there is in a document as JSON, and what prints it. Raises SpecError, DataError, StoreError."""
    if is_tuning(document):
        return tuning.validate(given, document, environ)
    if service_document.is_service(document):
        return _of_service(document)
    job = job_in(document, given.file)
    make_importable(job, given.file, environ)
    found = survey.survey(job.spec.data, session.store_url(job, None), job.spec.algorithm.seed)
    session.check_data(job, found.manifest)
    if found.complete:
        served_model.check_decision(job, found.manifest)
    needs = estimate.examine(job, found.manifest)
    placement.of(job)
    return _facts(job, found, needs), lambda: _print(job, found, needs)


def _of_service(document: object) -> tuple[dict[str, Any], Callable[[], None]]:
    """Check a ModelService, whose model is not looked for."""
    name = service_document.parse(document).metadata.name
    said = f"{name} is valid. Its model is looked for when it is served."
    return {"service": name}, lambda: print(said)


def _facts(job: TrainingJob, found: survey.Survey, needs: estimate.Needs) -> dict[str, Any]:
    manifest = found.manifest
    facts: dict[str, Any] = {
        # Of one that takes parameters from a search the uid follows from what that finds.
        "job": uid_of(job) if job.spec.parameters_from is None else job.metadata.name,
        "data": {
            "source": job.spec.data.source,
            "task": manifest.task,
            "shape": list(manifest.shape),
            "readWhole": found.complete,
        },
        "model": {
            "parameters": needs.parameters,
            "frozen": needs.frozen,
            "buffers": needs.buffers,
            "outputs": manifest.outputs,
        },
        "structure": None if _chosen_later(job) else list(job.structure),
        "memoryNeeded": {"worker": needs.worker.total, "merger": needs.merger.total},
    }
    if (placed := placement.of(job)) is not None:
        facts["placement"] = placed.outline()
    if warnings := _warnings(job, found):
        facts["warnings"] = list(warnings.values())
    if job.spec.data.validation is not None:
        facts["data"]["validation"] = job.spec.data.validation.source
    if manifest.classes is not None:
        facts["data"]["classes"] = manifest.classes
    if (raw := found.raw) is not None:
        facts["preparation"] = {
            "files": raw.files,
            "bytes": raw.bytes,
            "partitions": raw.partitions,
            "estimated": raw.estimated,
            "indexedFiles": raw.indexed,
        }
    if found.complete:
        extent = Extent.of(job, manifest.train_samples)
        facts["data"]["trainSamples"] = manifest.train_samples
        facts["data"]["validationSamples"] = manifest.validation_samples
        facts["data"]["validationShare"] = round(held_out(manifest), 6)
        facts |= {"steps": extent.steps, "stepsPerEpoch": extent.steps_per_epoch}
    elif job.spec.algorithm.steps is not None:
        facts["steps"] = job.spec.algorithm.steps
    return facts


def _print(job: TrainingJob, found: survey.Survey, needs: estimate.Needs) -> None:
    spec, manifest = job.spec, found.manifest
    model = spec.model.name or spec.model.entrypoint
    memory = [
        f"{role} {limit} (at least {format_bytes(need.total)} needed)"
        for role, limit, need in (
            ("worker", spec.memory.worker, needs.worker),
            ("merger", spec.memory.merger, needs.merger),
        )
    ]
    shape = " × ".join(map(str, manifest.shape))
    print(f"{job.metadata.name} is valid.\n")
    print(f"  data    {spec.data.source}: {_samples(found)} of {shape}, {_targets(manifest)}")
    if found.raw is not None:
        print(f"  prepare {_preparation(found.raw, spec.workers)}")
    if spec.data.validation is not None:
        print(f"  held    {spec.data.validation.source}")
    frozen = f", {needs.frozen:,} more are frozen" if needs.frozen else ""
    print(f"  model   {model}: {count(needs.parameters, 'parameter')}{frozen}")
    print(f"  steps   {_steps(job, found)}")
    print(f"  memory  {', '.join(memory)}")
    for about, warning in _warnings(job, found).items():
        print(f"  {about:<7} {warning}")
    if (placed := placement.of(job)) is not None:
        print(f"  cells   {placed.words}")
    print()
    if _chosen_later(job):
        print("  merge.structure is left out: the planner chooses it (sapflow plan)")
        return
    for line in structure.draw(job.structure).splitlines():
        print(f"  {line}")


def _warnings(job: TrainingJob, found: survey.Survey) -> dict[str, str]:
    """What is to be said, by the word for what it is about."""
    manifest = found.manifest
    said = {"labels": label_warning(job, manifest)}
    if found.complete:
        said["batch"] = batch_warning(job, manifest.train_samples)
        said["split"] = split_warning(job, manifest, grouped=found.grouped)
    return {about: warning for about, warning in said.items() if warning is not None}


def _chosen_later(job: TrainingJob) -> bool:
    return job.planned and job.spec.merge.structure is None


def _samples(found: survey.Survey) -> str:
    manifest = found.manifest
    if not found.complete:
        return f"more than {manifest.train_samples:,} samples (only the first were read)"
    held = ""
    if manifest.validation_samples:
        share = f" ({held_out(manifest):.1%}, whole groups)" if found.grouped else ""
        held = f", {manifest.validation_samples:,} held out{share},"
    return f"{count(manifest.train_samples, 'sample')}{held}"


def _preparation(raw: survey.RawExtent, workers: int) -> str:
    """What functions will do to raw data."""
    source = f"{count(raw.files, 'file')} of {format_bytes(raw.bytes)}"
    about = "about " if raw.estimated else ""
    at_once = f"by at most {count(min(workers, raw.partitions), 'preparer')} at once"
    cut = f", {raw.indexed:,} of them packed and cut at seek points" if raw.indexed else ""
    return f"{source}{cut}: {about}{count(raw.partitions, 'partition')}, {at_once}"


def _targets(manifest: Manifest) -> str:
    return f"{manifest.task_for().described} to predict"


def _steps(job: TrainingJob, found: survey.Survey) -> str:
    spec = job.spec
    batch = f"{spec.workers} × {spec.data.batch_size} samples each"
    if spec.algorithm.facts.local_steps > 1:
        batch = f"{spec.workers} × {spec.algorithm.facts.local_steps} × {spec.data.batch_size} samples each"
    if not found.complete and spec.algorithm.steps is None:
        return f"{spec.algorithm.epochs} epochs, {batch}"
    extent = Extent.of(job, found.manifest.train_samples)
    return f"{extent.steps:,}, {batch}"
