"""Objects of one job that another begins with: they are copied once, by a GET and a create-only PUT."""

import hashlib

from sapflow.errors import AlteredObject
from sapflow.messages.replies import CopyReply
from sapflow.messages.requests import Copied, CopyRequest
from sapflow.objects.stores.digested import sha256_of
from sapflow.objects.stores.protocol import Store
from sapflow.timing import Timing


def copy(store: Store, request: CopyRequest, timing: Timing) -> CopyReply:
    """Copy the request's objects, one after the other; the SHA-256 of each.

    Raises ObjectMissing, AlteredObject where one is not what its job recorded, and StoreUnavailable.
    """
    return CopyReply(
        done=True, sha256=[_copy(store, one, timing) for one in request.objects], **timing.report()
    )


def _copy(store: Store, one: Copied, timing: Timing) -> str:
    with timing.phase("read"):
        content = store.read(one.source)
    timing.bytes["read"] += len(content)
    found = hashlib.sha256(content).hexdigest()
    _check(one.source, found, one.sha256)
    with timing.phase("write"):
        created = store.create(one.key, content, durable=True)
    timing.bytes["written"] += len(content)
    if not created:
        _check(one.key, sha256_of(store, one.key), found)
    return found


def _check(key: str, found: str, recorded: str | None) -> None:
    if recorded is not None and found != recorded:
        raise AlteredObject(
            f"object {key} is not what was recorded when it was written (its SHA-256 is {found[:16]}…, not "
            f"{recorded[:16]}…): it has been replaced since, and nothing is begun with it; fork another version"
        )
