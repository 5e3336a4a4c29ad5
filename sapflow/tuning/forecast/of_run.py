"""The forecast of a search that is about to run, on the functions and in the store of the search itself."""

import asyncio
from collections.abc import Sequence

from sapflow.data.manifest import manifest_key
from sapflow.errors import CorruptObject
from sapflow.messages.documents import Document
from sapflow.messages.replies import MeasureReply, ModelSize
from sapflow.messages.requests import MEASURED_AT_ONCE, MeasureRequest
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.records.commits import Records
from sapflow.spec.resolved import ResolvedJob
from sapflow.spec.training_job import Runtime, TrainingJob
from sapflow.steps.calls import Caller
from sapflow.tuning.forecast.estimates import Measure
from sapflow.tuning.forecast.record import SearchForecast

_BATCH = 16
"""Models that are measured by one call: a call may take no longer than the platform lets it."""
assert _BATCH <= MEASURED_AT_ONCE


def measure_by(caller: Caller, template: ResolvedJob, store: Store, prefix: str, runtime: Runtime) -> Measure:
    """Has workers build the models of jobs for a runtime; their keys would begin with `prefix`, and the template says
    where the data is.

    What is returned raises JobFailed, StoreError."""

    async def measure(jobs: Sequence[TrainingJob]) -> list[ModelSize]:
        key = manifest_key(template.data_prefix)
        written = Document.of(key, bytes(await asyncio.to_thread(store.read, key)))
        replies = await asyncio.gather(*(
            caller.call("worker", _request(jobs[start : start + _BATCH], written, runtime, prefix), MeasureReply)
            for start in range(0, len(jobs), _BATCH)
        ))  # fmt: skip
        return [size for reply in replies for size in reply.sizes]

    return measure


def _request(
    jobs: Sequence[TrainingJob], manifest: Document, runtime: Runtime, prefix: str
) -> MeasureRequest:
    return MeasureRequest(
        job=keys.uid_of(prefix),
        version=0,
        seconds_left=1,
        jobs=[each.to_json() for each in jobs],
        runtime=runtime,
        manifest=manifest,
    )


async def recorded(records: Records) -> SearchForecast | None:
    """The forecast that was made before the search's first trial. Raises CorruptObject, StoreError."""
    key = keys.forecast(records.prefix)
    body = await records.read(key)
    if body is None:
        return None
    try:
        return SearchForecast.model_validate(body)
    except ValueError as error:
        raise CorruptObject(f"object {key} is no forecast: {error}") from error


async def record(records: Records, said: SearchForecast) -> SearchForecast:
    """Write the forecast; what stands there now, which another run may have written before. Raises StoreError."""
    await records.write(keys.forecast(records.prefix), said.body(), durable=True)
    return await recorded(records) or said
