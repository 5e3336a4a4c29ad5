"""Who uses a shared area, and its removal after the last user.

    shared/<digest>/users/<uid>   a job that uses the area; written before it reads or writes anything there
    shared/<digest>/removal       the uid of the job that was the last user and removes the area

A new user writes its record and then looks for a removal. Who removes marks the removal and then looks for users. So at
least one of the two sees the other: a remover that sees a user gives way before it has removed anything, and a user
that sees a removal waits for its end, and then cuts anew what was removed. Records of users are never removed but by
their own job, so they need not be written again.
"""

import time
from collections.abc import Callable, Iterator
from itertools import islice

from sapflow.errors import ObjectMissing
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store

PATIENCE_SECONDS = 30.0
"""How long a removal is waited for. One that takes longer was interrupted: it has removed the manifest first, so what
is left counts as an interrupted cut."""
_PAUSE_SECONDS = 0.2
_AT_ONCE = 1000
"""The number of objects that one request removes."""


def join(
    store: Store,
    area: str,
    uid: str,
    *,
    patience: float = PATIENCE_SECONDS,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Make `uid` a user of the area, before it reads or writes anything there. It may be repeated. Raises StoreError.

    Blocks while the area is being removed, at most for `patience` seconds.
    """
    store.create(keys.area_user(area, uid), uid.encode(), durable=True)
    _wait_for_removal(store, area, uid, patience, pause)


def leave(
    store: Store,
    area: str,
    uid: str,
    *,
    patience: float = PATIENCE_SECONDS,
    pause: Callable[[float], None] = time.sleep,
) -> bool:
    """End the use of the area by `uid`, and remove the area if that was its last user. Returns whether it did.

    It may be repeated, and must be if it was interrupted. Raises StoreError.
    """
    store.delete([keys.area_user(area, uid)])
    while True:
        if _used(store, area):
            return False
        if store.create(keys.area_removal(area), uid.encode()):
            break
        # Whoever removes the area may have seen this job's record, and give way to it.
        _wait_for_removal(store, area, uid, patience, pause)
    if _used(store, area):
        store.delete([keys.area_removal(area)])
        return False
    # Without a manifest the blocks count as those of an interrupted cut, also if this is interrupted.
    store.delete([keys.manifest(keys.data(keys.area(area)))])
    found = _removable(store, area)
    while names := list(islice(found, _AT_ONCE)):
        if _remover(store, area) != uid:
            return False
        store.delete(names)
    store.delete([keys.area_removal(area)])
    return True


def _wait_for_removal(
    store: Store, area: str, uid: str, patience: float, pause: Callable[[float], None]
) -> None:
    """Wait until nobody removes the area. The mark of a removal that was interrupted is taken away."""
    waited = 0.0
    while (remover := _remover(store, area)) is not None:
        # A job waits for no removal of its own: that was interrupted. Another remover that is still at work after so
        # long finds its mark gone, and stops.
        if remover == uid or waited >= patience:
            store.delete([keys.area_removal(area)])
            return
        pause(_PAUSE_SECONDS)
        waited += _PAUSE_SECONDS


def _used(store: Store, area: str) -> bool:
    return next(iter(store.list(keys.area_users(area))), None) is not None


def _remover(store: Store, area: str) -> str | None:
    """The uid of the job that removes the area, None if none does."""
    try:
        return bytes(store.read(keys.area_removal(area))).decode(errors="replace")
    except ObjectMissing:
        return None


def _removable(store: Store, area: str) -> Iterator[str]:
    """The keys of everything but users and the mark of the removal."""
    kept = (keys.area_users(area), keys.area_removal(area))
    return (each.key for each in store.list(keys.area(area)) if not each.key.startswith(kept))
