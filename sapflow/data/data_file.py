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
    tag: str = ""
    """What changes with every write of the file: the ETag of an object, the times and number of a local file."""
    local: bool = False
    """Whether it lies on this machine, so that reading it costs little."""
    unpacked: bool = False
    """Whether `size` and `open` are of what was compressed, although the name says that the file is."""

    @property
    def base(self) -> str:
        return self.name.rpartition("/")[2]
