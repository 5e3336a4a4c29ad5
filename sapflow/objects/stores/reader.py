"""The common base of the stores' readers, which read an object front to back."""

from abc import ABC, abstractmethod
from typing import Self

from sapflow.objects.stores.buffers import aligned_buffer, check_range


class SequentialReader(ABC):
    """An ObjectReader that reuses one aligned buffer, so that memory does not grow with the object.

    `name` is the object's name in errors, `size` its bytes."""

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
        """Put the bytes from `position` on into `target`. The caller has checked that there are enough."""

    @abstractmethod
    def close(self) -> None:
        """Release what is open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
