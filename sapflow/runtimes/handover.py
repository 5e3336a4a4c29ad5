"""When a call was handed over to an instance, for calls that end without an answer.

An answer carries its own seconds. A call that fails, or is given up, costs as well, from the moment that an instance
had it; what it waited before that in a sender's queue, for a connection or for an instance to start, is not billed. A
sender says which of the two it is: `waits` and `begins` are about the call that runs in the current task.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Handover:
    """One call. As long as its sender says nothing, an instance has it from the beginning."""

    def __init__(self) -> None:
        self._since: float | None = _now()
        self._begun = False
        self._had = 0.0

    @property
    def seconds(self) -> float | None:
        """Seconds in which an instance has had the call; None if none ever had it."""
        if self._since is not None:
            return self._had + _now() - self._since
        return self._had if self._begun else None

    def wait(self) -> None:
        """The call waits: no instance has it."""
        if self._since is not None and self._begun:
            self._had += _now() - self._since
        self._since = None

    def begin(self) -> None:
        """An instance has the call from now on."""
        self._begun = True
        if self._since is None:
            self._since = _now()

    def pass_on(self) -> None:
        """The call is handed to a sender, which may say more; as long as it says nothing, an instance has it."""
        if self._since is None:
            self._since = _now()

    def not_had(self) -> None:
        """What began last was no work: no instance took the call. The time before it still counts."""
        self._since = None
        self._begun = self._had > 0.0


_current: ContextVar[tuple[Handover, ...]] = ContextVar("handover", default=())


@contextmanager
def watching() -> Iterator[Handover]:
    """Watch the call that the block makes. Whoever watches further out is told as well."""
    handover = Handover()
    before = _current.set((*_current.get(), handover))
    try:
        yield handover
    finally:
        _current.reset(before)


def waits() -> None:
    """The current call waits: no instance has it."""
    for handover in _current.get():
        handover.wait()


def begins() -> None:
    """An instance has the current call from now on."""
    for handover in _current.get():
        handover.begin()


def passed_on() -> None:
    """The current call no longer waits here: unless its sender says something, an instance has it from now on."""
    for handover in _current.get():
        handover.pass_on()


def not_had() -> None:
    """What the current call began last reached no instance, and it waits again."""
    for handover in _current.get():
        handover.not_had()


def _now() -> float:
    return asyncio.get_running_loop().time()
