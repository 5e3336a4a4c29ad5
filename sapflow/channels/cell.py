"""Contributions on the volume that the functions of one cell share. A volume that is lost loses the step in flight."""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sapflow.errors import CellLost, ObjectMissing, StoreError
from sapflow.messages.refs import Ref
from sapflow.objects.stores.protocol import Buffer, ObjectReader, Store

_GONE = {errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.EROFS}
"""What a file system says whose device has gone."""


class CellChannel:
    """A Channel over the volume of cell number `cell`. The volume holds nothing that must outlive it."""

    remote = False

    def __init__(self, cell: int, volume: Store) -> None:
        self._cell, self._volume = cell, volume

    def put(self, ref: Ref, parts: Sequence[Buffer]) -> None:
        with self._in_reach(ref):
            self._volume.create(ref.key, parts)

    def open(self, ref: Ref) -> ObjectReader:
        with self._in_reach(ref):
            return self._volume.open(ref.key)

    @contextmanager
    def _in_reach(self, ref: Ref) -> Iterator[None]:
        """What is not on the volume any more, or not to be reached, is lost with it. Raises CellLost."""
        if ref.cell != self._cell:
            raise StoreError(f"{ref.key} lies in cell {ref.cell}, and this function is in cell {self._cell}")
        try:
            yield
        except ObjectMissing as error:
            raise CellLost(
                f"{ref.key} is not on its cell's volume: the volume was lost, or made anew"
            ) from error
        except StoreError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno in _GONE:
                raise CellLost(f"{ref.key}: its cell's volume has gone: {error}") from error
            raise
