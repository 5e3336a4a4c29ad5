"""A file of a source, local or remote."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file: its full name for error messages, its size in bytes, and a function that opens it for reading and
    seeking."""

    name: str
    size: int
    open: Callable[[], BinaryIO]

    @property
    def base(self) -> str:
        return self.name.rpartition("/")[2]
