"""Contributions inside requests and answers. The driver passes them on, and they are not in any store.

This is for small contributions, for which a request to the store costs more than the transfer. They exist only during
the step. If the driver dies they are lost, and the step is repeated with the same bits.
"""

from collections.abc import Mapping, Sequence

from sapflow.errors import ObjectMissing
from sapflow.messages.refs import Ref
from sapflow.objects.stores.protocol import Buffer, ObjectReader
from sapflow.objects.stores.reader import SequentialReader


class InlineChannel:
    """A Channel on the attachments of a call."""

    remote = False

    def __init__(self, received: Mapping[str, Buffer]) -> None:
        """`received` has the request's attachments by key."""
        self._received = received
        self.sent: dict[str, bytes] = {}
        """The attachments for the answer."""
        self.objects = ReceivedObjects(received)

    def holds(self, key: str) -> bool:
        """Whether the request carries an object."""
        return key in self._received

    def send(self, key: str, parts: Sequence[Buffer]) -> None:
        """Have the answer carry an object."""
        self.sent[key] = b"".join(parts)

    def put(self, ref: Ref, parts: Sequence[Buffer]) -> bool:
        self.send(ref.key, parts)
        return True

    def open(self, ref: Ref) -> ObjectReader:
        return self.objects.open(ref.key)


class ReceivedObjects:
    """The attachments of a request, opened as a store's objects are."""

    def __init__(self, received: Mapping[str, Buffer]) -> None:
        self._received = received

    def open(self, key: str) -> ObjectReader:
        """Raises ObjectMissing if the request does not carry it."""
        content = self._received.get(key)
        if content is None:
            raise ObjectMissing(f"{key} is inline, and the request does not carry it")
        return _Reader(key, content)


class _Reader(SequentialReader):
    """Reads an attachment front to back."""

    def __init__(self, name: str, content: Buffer) -> None:
        self._content = memoryview(content)
        super().__init__(name, self._content.nbytes)

    def fill(self, target: memoryview) -> None:
        target[:] = self._content[self.position : self.position + len(target)]

    def close(self) -> None:
        self._content = memoryview(b"")
