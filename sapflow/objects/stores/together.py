"""Several objects written at the same time, where each write is a wait for an answer."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from sapflow.objects.stores.protocol import Buffer, Store

Content = Buffer | Sequence[Buffer]


def create_all(store: Store, objects: Sequence[tuple[str, Content]], *, durable: bool = False) -> list[bool]:
    """`Store.create` for each pair of key and content: whether this call created the object, in the same order.

    A remote store gets all requests at once, all but the first from a thread of their own. Raises what `create` raises,
    once all have ended.
    """
    if len(objects) < 2 or not store.remote:
        return [store.create(key, content, durable=durable) for key, content in objects]
    (first, content), *others = objects
    with ThreadPoolExecutor(len(others)) as threads:
        writes = [threads.submit(store.create, key, each, durable=durable) for key, each in others]
        made = store.create(first, content, durable=durable)
    return [made, *(write.result() for write in writes)]
