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

    def put(self, ref: Ref, parts: Sequence[Buffer]) -> bool:
        self.sent[ref.key] = b"".join(parts)
        return True

    def open(self, ref: Ref) -> ObjectReader:
        content = self._received.get(ref.key)
        if content is None:
            raise ObjectMissing(f"{ref.key} is inline, and the request does not carry it")
        return _Reader(ref.key, content)


class _Reader(SequentialReader):
    """Reads an attachment front to back."""

    def __init__(self, name: str, content: Buffer) -> None:
        self._content = memoryview(content)
        super().__init__(name, self._content.nbytes)

    def fill(self, target: memoryview) -> None:
        target[:] = self._content[self.position : self.position + len(target)]

    def close(self) -> None:
        self._content = memoryview(b"")
