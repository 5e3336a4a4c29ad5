"""Readers of objects on a cell's volume, which may be torn, or go while they are read."""

from collections.abc import Callable

from sapflow.errors import CellLost, CorruptObject, StoreError
from sapflow.objects import safetensor
from sapflow.objects.stores.directory import DirectoryStore
from sapflow.objects.stores.protocol import ObjectReader

_PIECE = 1 << 20


class VolumeReader:
    """Reads an object of a volume front to back.

    Nothing on a volume is written durably, so a node that lost its power may leave an object torn, under a key that
    nobody could write again. If the work with this reader ends by a CorruptObject and the object is torn, it is
    removed from the volume, and the error becomes CellLost: the step is repeated and the object written anew.
    """

    def __init__(self, volume: DirectoryStore, key: str) -> None:
        """Open the object. Raises ObjectMissing, StoreError."""
        self._volume, self._key = volume, key
        self._reader: ObjectReader = volume.open(key)
        self.size = self._reader.size
        self._position = 0

    def next(self, count: int) -> memoryview:
        try:
            found = self._reader.next(count)
        except StoreError as error:
            self._failed(error)
            found = self._reader.next(count)
        self._position += count
        return found

    def readinto(self, target: memoryview) -> None:
        try:
            self._reader.readinto(target)
        except StoreError as error:
            self._failed(error)
            self._reader.readinto(target)
        self._position += target.nbytes

    def _failed(self, error: StoreError) -> None:
        """Have another reader stand at the same place, or raise."""
        raise error

    def __enter__(self) -> "VolumeReader":
        return self

    def __exit__(self, *exc: object) -> None:
        self._reader.__exit__(*exc)
        error = exc[1]
        # A group of children is read at once, and each may be the torn one.
        if isinstance(error, CorruptObject | CellLost) and self._remove_torn():
            raise CellLost(f"{self._key} is torn on its cell's volume, and was removed from there") from error

    def _remove_torn(self) -> bool:
        try:
            with self._volume.open(self._key) as reader:
                if _is_complete(reader, self._key):
                    return False
            self._volume.delete([self._key])
        except StoreError:
            return False
        return True


class CopyReader(VolumeReader):
    """Reads a copy; if the volume fails meanwhile, it goes on with the object in the job's store."""

    def __init__(self, volume: DirectoryStore, key: str, original: Callable[[], ObjectReader]) -> None:
        super().__init__(volume, key)
        self._original: Callable[[], ObjectReader] | None = original

    def _failed(self, error: StoreError) -> None:
        if isinstance(error, CorruptObject) or self._original is None:
            raise error
        original, self._original = self._original, None
        self._reader.__exit__(None, None, None)
        self._reader = original()
        left = self._position
        while left:
            left -= len(self._reader.next(min(left, _PIECE)))


def _is_complete(reader: ObjectReader, key: str) -> bool:
    """Whether an object has a header that holds together, and the bytes that the header promises."""
    try:
        prefix = bytes(reader.next(8))
        rest = bytes(reader.next(safetensor.header_length(prefix, key) - 8))
        return safetensor.decode_header(prefix + rest, key).object_size == reader.size
    except CorruptObject:
        return False
