"""Lets the calls of a search find the best memory size of the workers that its trials share."""

import asyncio
import logging
from collections.abc import Callable

from sapflow.errors import StoreError
from sapflow.quantities.memory import MIB
from sapflow.records.memory_search import SearchSettings
from sapflow.tuning.calls import Calls
from sapflow.tuning.pool_sizes import PoolSizes, PoolSizeSearch, WorkerCall
from sapflow.tuning.search import Search

log = logging.getLogger(__name__)


class PoolResizing:
    """Notes each change of the size in the search's log, and then asks for it."""

    def __init__(
        self,
        search: Search,
        calls: Calls,
        settings: SearchSettings,
        workers: int,
        asked: Callable[[PoolSizes], None],
    ) -> None:
        """`workers` of a trial; `asked` has the platform give them the size."""
        self._search, self._calls, self._settings, self._workers = search, calls, settings, workers
        self._asked = asked

    async def run(self) -> None:
        """Go on where the log stands, which has been read, until this is cancelled."""
        sought = PoolSizeSearch(self._settings, self._workers, self._search.state.sizes)
        clock, changed = asyncio.get_running_loop().time, asyncio.Event()

        def watch(call: WorkerCall) -> None:
            if sought.take(call, clock()):
                changed.set()

        self._ask(sought.state)
        self._calls.watch(watch)
        try:
            while True:
                await changed.wait()
                changed.clear()
                try:
                    await self._search.resize(sought.state)
                except StoreError as error:
                    log.warning("the workers keep their memory, because the store does not answer: %s", error)
                else:
                    self._ask(sought.state)
        finally:
            self._calls.watch(None)

    def _ask(self, sizes: PoolSizes) -> None:
        # From now on a call may be served by a larger worker.
        self._calls.may_have("worker", sizes.size * MIB)
        self._asked(sizes)
