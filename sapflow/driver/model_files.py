"""What lies beside the model of a job, or of a search's best trial: the preparation of raw rows, and golden rows."""

import asyncio
import hashlib
import logging
from dataclasses import dataclass

from sapflow import logs
from sapflow.data.manifest import Manifest
from sapflow.errors import AlteredObject, JobFailed
from sapflow.messages.documents import Document
from sapflow.messages.replies import KeepReply
from sapflow.messages.requests import KeepRequest
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.records.commits import Commit
from sapflow.steps.calls import Caller

logger = logging.getLogger("sapflow.driver")
_NONE_KEPT = (
    "the model's outputs for rows of its data are no finite numbers, or not the same each time: what serves it is not "
    "checked against its training"
)


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The files of one model, whose result lies below `prefix`."""

    store: Store
    manifest: Manifest
    data_prefix: str
    prefix: str

    @property
    def prepared(self) -> bool:
        """Whether the model takes raw rows."""
        return bool(self.manifest.preparation)

    async def copy_preparation(self) -> None:
        """Put what raw rows are made samples by beside the model, which names it by its SHA-256. Raises AlteredObject,
        StoreError."""
        if not self.prepared:
            return
        source = keys.fitted_preparation(self.data_prefix)
        content = bytes(await asyncio.to_thread(self.store.read, source))
        if hashlib.sha256(content).hexdigest() != self.manifest.preparation:
            raise AlteredObject(
                f"object {source} is not the preparation that the data was made by: somebody has replaced it. Find out "
                "who else may write to the bucket, and start the job anew"
            )
        output = keys.result(self.prefix, keys.fitted_preparation(""))
        await asyncio.to_thread(self.store.create, output, content, durable=True)

    async def keep_golden_rows(
        self,
        caller: Caller,
        uid: str,
        commit: Commit,
        documents: tuple[Document, Document],
        code: str | None,
        metadata: dict[str, str],
        sha256: str,
    ) -> None:
        """Have a worker put a few raw rows with the model's outputs beside it: those that the preparation has kept, or
        samples of data that is trained on as it is.

        `documents` are the job's spec and its manifest, `metadata` and `sha256` those of the model's file. A job that
        may make no further call, or whose worker cannot, has its model without them.
        """
        profile = keys.profile(self.data_prefix) if self.prepared else None
        if profile is not None and not await asyncio.to_thread(self.store.exists, profile):
            return
        request = KeepRequest(
            job=uid,
            version=commit.version,
            seconds_left=1,
            spec=documents[0],
            manifest=documents[1],
            code=code,
            params=commit.params,
            sizes=commit.sizes,
            profile=profile,
            metadata=metadata,
            model=sha256,
            output=keys.result(self.prefix, keys.GOLDEN_ROWS),
        )
        try:
            reply = await caller.call("worker", request, KeepReply)
        except JobFailed as failure:
            # The model is there, and was paid for.
            logs.event(logger, logging.WARNING, "no golden rows", reason=failure.reason, message=str(failure))
        else:
            if not reply.rows:
                logs.event(
                    logger, logging.WARNING, "no golden rows", reason="NotRepeatable", message=_NONE_KEPT
                )
