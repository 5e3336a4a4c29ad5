"""Reading one object front to back: what both stores' readers share."""

from abc import ABC, abstractmethod
from typing import Self

from sapflow.objects.stores.buffers import aligned_buffer, check_range


class SequentialReader(ABC):
    """An ObjectReader that fills one aligned buffer again and again, so that memory does not grow with the
    object. `name` is what errors call the object, `size` its bytes."""

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size
        self.position = 0
        self._buffer = aligned_buffer(0)

    def next(self, count: int) -> memoryview:
        check_range(self.name, self.position, count, self.size)
        if len(self._buffer) < count:
            self._buffer = aligned_buffer(count)
        target = self._buffer[:count]
        self.readinto(target)
        return target

    def readinto(self, target: memoryview) -> None:
        target = target.cast("B")
        check_range(self.name, self.position, len(target), self.size)
        self.fill(target)
        self.position += len(target)

    @abstractmethod
    def fill(self, target: memoryview) -> None:
        """Put the bytes from `position` on into `target`; there are enough of them."""

    @abstractmethod
    def close(self) -> None:
        """Give up what is held open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
