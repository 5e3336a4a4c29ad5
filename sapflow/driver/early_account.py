"""What a job has consumed before its first version, kept in the store while its data is prepared or cut.

Commits tell it from version 0 on. Before, there is a record beside them, replaced whenever the dollars have grown by
a tenth: two objects in turn, so that one is always whole. A driver that is killed loses less than that, and the calls
that were under way.
"""

import asyncio
from contextlib import suppress

from pydantic import ValidationError

from sapflow.errors import CorruptObject, StoreError
from sapflow.objects import keys
from sapflow.records.commits import Account, Records

GROWTH = 0.1
"""The share by which dollars have grown when they are recorded anew."""


class EarlyAccount:
    """The account of one job, as one driver reads and keeps it."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._slot, self._recorded = 0, Account()
        self._writing = asyncio.Lock()

    async def read(self) -> Account:
        """What earlier drivers have recorded. Raises StoreError."""
        found = await asyncio.gather(*(self._read(slot) for slot in (0, 1)))
        seconds = [each.seconds for each in found]
        self._slot = seconds.index(min(seconds))
        self._recorded = found[1 - self._slot]
        return self._recorded

    async def grow(self, account: Account) -> None:
        """Record the account if its dollars have grown enough."""
        if account.cost_usd > (1 + GROWTH) * self._recorded.cost_usd:
            await self.keep(account)

    async def keep(self, account: Account) -> None:
        """Record the account, unless it is recorded."""
        async with self._writing:
            if account.invocations <= self._recorded.invocations:
                return
            self._recorded = account
            key, self._slot = keys.early_account(self._records.prefix, self._slot), 1 - self._slot
            # A store that is away loses some dollars at the worst; what matters of an outage is said elsewhere.
            with suppress(StoreError):
                await asyncio.to_thread(self._records.store.delete, [key])
                await self._records.write(key, account.body())

    async def _read(self, slot: int) -> Account:
        key = keys.early_account(self._records.prefix, slot)
        try:
            return Account.model_validate(await self._records.read(key) or {})
        except (CorruptObject, ValidationError):
            # The machine may have died while this one was written; the other one is whole.
            return Account()
