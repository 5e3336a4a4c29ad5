"""The last thing that the driver of a suspended job does: a function writes the model of its last version."""

import asyncio
import logging
from collections.abc import Callable

from sapflow import logs
from sapflow.data.manifest import Manifest
from sapflow.driver.result import write_stopped
from sapflow.errors import SapflowError
from sapflow.objects.stores.protocol import Store
from sapflow.records.commits import Records
from sapflow.runtimes.sender import Sender
from sapflow.spec.resolved import ResolvedJob
from sapflow.steps.calls import Caller

logger = logging.getLogger("sapflow.driver")

SECONDS = 30.0
"""The most that it takes: a pod has a little longer to end."""


class StoppedModel:
    """Leaves the model of a job whose driver has been told to end."""

    def __init__(self, resolved: ResolvedJob, manifest: Manifest, store: Store, sender: Sender) -> None:
        self._resolved, self._manifest, self._store = resolved, manifest, store
        self._caller = Caller.of(resolved.job, sender)

    async def leave(self, told: Callable[[int, str], None]) -> None:
        """Have the model written, and tell its version and URI. A failure is logged: `sapflow export` makes it, too."""
        records = Records(self._store, self._resolved.prefix)
        try:
            async with asyncio.timeout(SECONDS):
                first, last = await records.commit(0), await records.last()
                if first is None or last is None or last.version < 1:
                    return
                uri = await write_stopped(
                    self._caller, self._resolved, self._manifest, self._store, first, last
                )
        except (SapflowError, TimeoutError) as error:
            logs.event(logger, logging.WARNING, "model not written", message=str(error) or "it took too long")
        else:
            told(last.version, uri)
