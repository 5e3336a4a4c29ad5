"""Inline contributions that a driver holds between the function that made them and the one that sums them."""

from collections.abc import Iterable, Mapping

from sapflow.messages.refs import INLINE, Ref


class Held:
    """The inline contributions of a step, by key. If the driver dies they are lost, and the step is repeated."""

    def __init__(self) -> None:
        self._contents: dict[str, bytes] = {}

    def take_in(self, attachments: Mapping[str, bytes]) -> None:
        """Keep the attachments of an answer. A repeated call has the same bytes under the same key."""
        self._contents.update(attachments)

    def attachments(self, refs: Iterable[Ref]) -> dict[str, bytes]:
        """The attachments of a request that reads these contributions."""
        return {ref.key: self._contents[ref.key] for ref in refs if ref.channel == INLINE}

    def take(self, key: str) -> bytes | None:
        """The content under a key, which is not held any more; None if no answer has brought it."""
        return self._contents.pop(key, None)

    def drop(self, refs: Iterable[Ref]) -> None:
        """Remove contributions whose reader has answered."""
        for ref in refs:
            self._contents.pop(ref.key, None)

    def clear(self) -> None:
        """Remove everything after a commit, because nothing of its step is needed any more."""
        self._contents.clear()

    def __len__(self) -> int:
        return len(self._contents)
