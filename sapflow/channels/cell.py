"""Contributions on the volume that the functions of a cell share. If a volume is lost, only the step in flight is."""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sapflow.errors import CellLost, ObjectMissing, StoreError
from sapflow.messages.refs import Ref
from sapflow.objects.stores.directory import DirectoryStore
from sapflow.objects.stores.protocol import Buffer, ObjectReader
from sapflow.objects.stores.volume_reader import VolumeReader

_GONE = {errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.EROFS}
"""Errors of a file system whose device is gone."""


class CellChannel:
    """A Channel on the volume of cell number `cell`. Nothing on the volume must survive it."""

    remote = False

    def __init__(self, cell: int, volume: DirectoryStore) -> None:
        self._cell, self._volume = cell, volume

    def put(self, ref: Ref, parts: Sequence[Buffer]) -> bool:
        with self._in_reach(ref):
            return self._volume.create(ref.key, parts)

    def open(self, ref: Ref) -> ObjectReader:
        with self._in_reach(ref):
            return _Reader(ref, self._volume)

    @contextmanager
    def _in_reach(self, ref: Ref) -> Iterator[None]:
        """Raise CellLost if an object of the volume is missing or cannot be reached: then the volume is lost."""
        if ref.cell != self._cell:
            raise StoreError(f"{ref.key} lies in cell {ref.cell}, and this function is in cell {self._cell}")
        try:
            yield
        except ObjectMissing as error:
            raise CellLost(
                f"{ref.key} is not on its cell's volume: the volume was lost, or made anew"
            ) from error
        except StoreError as error:
            if (meant := _meant(error, ref.key)) is error:
                raise
            raise meant from error


class _Reader(VolumeReader):
    """Reads a contribution; if the volume goes meanwhile, that is a loss of the cell."""

    def __init__(self, ref: Ref, volume: DirectoryStore) -> None:
        super().__init__(volume, ref.key)
        self._name = ref.key

    def _failed(self, error: StoreError) -> None:
        if (meant := _meant(error, self._name)) is error:
            raise error
        raise meant from error


def _meant(error: StoreError, key: str) -> StoreError:
    """CellLost if the error says that the volume has gone, else the error itself."""
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno in _GONE:
        return CellLost(f"{key}: its cell's volume has gone: {error}")
    return error
