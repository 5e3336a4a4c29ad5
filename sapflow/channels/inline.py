"""Contributions inside requests and answers: the driver hands them on, and no store sees them.

For small ones: a request to a store costs more than its bytes. Nothing of it outlives the step; a driver that dies
takes with it what it holds, and the step is made again with the same bits.
"""

from collections.abc import Mapping, Sequence

from sapflow.errors import ObjectMissing
from sapflow.messages.refs import Ref
from sapflow.objects.stores.protocol import Buffer, ObjectReader
from sapflow.objects.stores.reader import SequentialReader


class InlineChannel:
    """A Channel over the attachments of one call."""

    remote = False

    def __init__(self, received: Mapping[str, Buffer]) -> None:
        """`received`: the request's attachments by key."""
        self._received = received
        self.sent: dict[str, bytes] = {}
        """What the answer is to carry."""

    def put(self, ref: Ref, parts: Sequence[Buffer]) -> None:
        self.sent[ref.key] = b"".join(parts)

    def open(self, ref: Ref) -> ObjectReader:
        content = self._received.get(ref.key)
        if content is None:
            raise ObjectMissing(f"{ref.key} is inline, and the request does not carry it")
        return _Reader(ref.key, content)


class _Reader(SequentialReader):
    """Reads one attachment front to back."""

    def __init__(self, name: str, content: Buffer) -> None:
        self._content = memoryview(content)
        super().__init__(name, self._content.nbytes)

    def fill(self, target: memoryview) -> None:
        target[:] = self._content[self.position : self.position + len(target)]

    def close(self) -> None:
        self._content = memoryview(b"")
