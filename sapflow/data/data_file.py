"""One file of a source, wherever it lies."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file: its full name as errors show it, its size in bytes, how to open it to read and seek."""

    name: str
    size: int
    open: Callable[[], BinaryIO]

    @property
    def base(self) -> str:
        return self.name.rpartition("/")[2]
