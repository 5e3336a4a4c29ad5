"""The result of a finished job: the model with named tensors, metrics, and the outcome record."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from sapflow.data.manifest import Manifest
from sapflow.driver import preparation_forecast, provenance
from sapflow.driver.evaluations import Evaluations
from sapflow.driver.model_files import ModelFiles
from sapflow.driver.provenance import History
from sapflow.driver.windows import batched
from sapflow.errors import CorruptObject
from sapflow.messages.replies import ExportReply
from sapflow.messages.requests import ExportRequest
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.records.commits import Commit, plain_json
from sapflow.records.evaluations import held_out
from sapflow.spec.resolved import ResolvedJob
from sapflow.spec.training_job import TrainingJob
from sapflow.steps.calls import Caller
from sapflow.steps.context import Context

LINES = 10_000
"""Versions whose lines one object of metrics has, at most."""
_AT_ONCE = 16


async def write(
    context: Context,
    evaluations: Evaluations,
    first: Commit,
    last: Commit,
    chosen: Commit,
    *,
    exports: bool = True,
) -> dict[str, Any]:
    """Record the outcome of a job from commit 0, `first`, to `last`, its model exported before that unless it `exports`
    none; what now stands."""
    records = context.records
    begun = await records.commit(first.first_version) or first if first.first_version else first
    model = await _export(context, first, chosen) if exports else {}
    if exports:
        data_prefix = context.manifest_document.key.removesuffix(keys.manifest(""))
        files = ModelFiles(context.store, context.manifest, data_prefix, context.prefix)
        await files.copy_preparation()
        await files.keep_golden_rows(
            context.caller,
            context.uid,
            chosen,
            (context.spec_document, context.manifest_document),
            context.code,
            metadata_of(context.job, context.manifest, first, chosen),
            model["sha256"],
        )
    history = History()
    await _write_metrics(context, evaluations, chosen, after=begun.version, history=history)
    if model:
        await _write_provenance(context, first, chosen, history, model)
    outcome = {
        "version": chosen.version,
        **model,
        "loss": chosen.measured.loss,
        **held_out(await evaluations.metrics_of(chosen.version)),
        "skippedSteps": last.skips,
        "targetReached": evaluations.reached,
        "chosenBy": evaluations.choice(last).by,
        "account": context.caller.account.body(),
        "forecast": forecast_against(begun, chosen),
        "preparation": await _preparation(context) if exports else None,
        "resumed": context.caller.tally.resumed,
    }
    outcome = {name: value for name, value in plain_json(outcome).items() if value is not None}
    key = keys.result(context.prefix, "outcome.json")
    if not await records.write(key, outcome, durable=True):
        outcome = await records.read(key) or outcome
    return outcome


async def _preparation(context: Context) -> dict[str, Any] | None:
    """What the preparation of the job's data was forecast to take, with its grade; None if this job prepared none."""
    if context.job.spec.data.prepare is None:
        return None
    return await preparation_forecast.recorded(context.records)


async def _export(context: Context, first: Commit, chosen: Commit) -> dict[str, str]:
    """Write the model of the chosen version; where it is, and its SHA-256."""
    output = keys.result(context.prefix, "model.safetensors")
    request = export_request(context.uid, context.job, context.manifest, first, chosen, output)
    reply = await context.caller.call("merger", request, ExportReply)
    return {"uri": f"{context.store.url.partition('?')[0].rstrip('/')}/{output}", "sha256": reply.sha256}


async def _write_provenance(
    context: Context, first: Commit, chosen: Commit, history: History, model: Mapping[str, str]
) -> None:
    """Write where the result comes from beside its model, unless another driver has."""
    found = provenance.record(
        context.job,
        context.manifest,
        first,
        chosen,
        history,
        uid=context.uid,
        spec=context.spec_document.sha256,
        manifest_sha256=context.manifest_document.sha256,
        model=model,
    )
    await context.records.write(keys.result(context.prefix, "provenance.json"), found, durable=True)


def forecast_against(first: Commit, chosen: Commit) -> dict[str, float] | None:
    """The forecast before the first step, scaled to the steps taken, and its error relative to the measured values.

    Measured values include cold starts, evaluations and faults; a forecast does not.
    """
    forecast, steps = first.forecast, chosen.version - first.version
    seconds = chosen.account.seconds - first.account.seconds
    spent = chosen.account.cost_usd - first.account.cost_usd
    if forecast is None or seconds <= 0 or spent <= 0:
        return None
    said = {"seconds": steps * forecast.seconds_per_step, "costUSD": steps * forecast.dollars_per_step}
    return said | {
        "secondsError": said["seconds"] / seconds - 1,
        "costError": said["costUSD"] / spent - 1,
    }


async def write_stopped(
    caller: Caller, resolved: ResolvedJob, manifest: Manifest, store: Store, first: Commit, last: Commit
) -> str:
    """Write the model of a job that has stopped behind version `last`; its URI. `first` is commit 0."""
    output = keys.stopped_model(resolved.prefix, last.version)
    request = export_request(resolved.uid, resolved.job, manifest, first, last, output)
    await caller.call("merger", request, ExportReply)
    return f"{store.url.partition('?')[0].rstrip('/')}/{output}"


def export_request(
    uid: str, job: TrainingJob, manifest: Manifest, first: Commit, commit: Commit, output: str
) -> ExportRequest:
    """The request to write a version's model to `output`. `first` is commit 0, which knows the layout."""
    return ExportRequest(
        job=uid,
        version=commit.version,
        seconds_left=1,
        params=commit.params,
        sizes=commit.sizes,
        layout=first.layout,
        metadata=metadata_of(job, manifest, first, commit),
        output=output,
    )


def metadata_of(job: TrainingJob, manifest: Manifest, first: Commit, commit: Commit) -> dict[str, str]:
    """The metadata of the model's file."""
    return {
        "sapflow": json.dumps(describe(job, manifest), sort_keys=True),
        "provenance": json.dumps(provenance.of_weights(job, manifest, first, commit), sort_keys=True),
    }


def describe(job: TrainingJob, manifest: Manifest) -> dict[str, Any]:
    """Metadata with which `sapflow predict` builds the model and scales input. It is the same for every run."""
    spec = job.spec
    task = manifest.task_for(scale_target=bool(spec.data.scale_target))
    # A prediction needs neither a loss of one's own, which is code, nor what training began with.
    unused = {"loss_entrypoint", "weights", "weights_match"}
    return {
        "model": spec.model.model_dump(by_alias=True, mode="json", exclude_none=True, exclude=unused),
        "inputs": list(manifest.shape),
        "outputs": manifest.outputs,
        "task": manifest.task,
        "classes": manifest.classes,
        "scale": list(manifest.scale),
        "shift": list(manifest.shift),
        **({"targetStatistics": kept} if (kept := task.needed_to_predict) else {}),
        **({"origin": list(manifest.origin)} if manifest.origin else {}),
        **({"columns": list(manifest.columns)} if manifest.columns else {}),
        **({"classNames": list(manifest.class_names)} if manifest.class_names else {}),
        **({"preparation": manifest.preparation} if manifest.preparation else {}),
        **({"dialect": dialect} if (dialect := _dialect(spec.data.options)) else {}),
    }


def _dialect(options: Mapping[str, Any]) -> dict[str, Any]:
    """How CSV files are written, of a source's options."""
    return {name: options[name] for name in ("delimiter", "header") if name in options}


async def _write_metrics(
    context: Context,
    evaluations: Evaluations,
    chosen: Commit,
    *,
    after: int = 0,
    history: History | None = None,
) -> None:
    """Write a line for each version behind `after` up to the chosen one, at most LINES in an object.

    `history` takes in each of them. An object is written at once, and a driver's memory must not grow with the length
    of its job.
    """

    async def line(version: int) -> tuple[Commit, bytes]:
        commit = chosen if version == chosen.version else await context.records.commit(version)
        if commit is None:
            raise CorruptObject(f"commit {version} of job {context.uid} is missing")
        said = {"version": version, "epoch": commit.cursor.epoch, **commit.measured.body()}
        said |= {"account": commit.account.body(), "skipped": commit.skipped}
        if evaluations.due(version, final=version == chosen.version):
            said |= held_out(await evaluations.metrics_of(version))
        return commit, json.dumps(plain_json(said), sort_keys=True).encode() + b"\n"

    for part, versions in enumerate(batched(range(after + 1, chosen.version + 1), LINES)):
        text = bytearray()
        for some in batched(versions, _AT_ONCE):
            for commit, each in await asyncio.gather(*map(line, some)):
                text += each
                if history is not None:
                    history.take(commit)
        key = keys.metrics(context.prefix, part)
        await asyncio.to_thread(context.store.create, key, memoryview(text))
