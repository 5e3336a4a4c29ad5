"""Iterates for a limited time over what may be silent for long."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def in_time(follow: Callable[[], Iterator[Item]], timeout: float, what: str) -> Iterator[Item]:
    """Like `follow()`, for at most `timeout` seconds. A thread listens, and ends with the next item after that.

    Raises TimeoutError, which says that `what` has not finished.
    """
    heard: queue.SimpleQueue[Item | BaseException | None] = queue.SimpleQueue()
    over = threading.Event()

    def listen() -> None:
        try:
            for each in follow():
                heard.put(each)
                if over.is_set():
                    return
            heard.put(None)
        except BaseException as error:  # noqa: BLE001  # raised where somebody waits for it
            heard.put(error)

    threading.Thread(target=listen, daemon=True).start()
    deadline = time.monotonic() + timeout
    try:
        while True:
            try:
                found = heard.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(f"{what} has not finished within {timeout:g} s; it goes on") from None
            if found is None:
                return
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        over.set()
