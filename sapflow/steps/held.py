"""Contributions that a driver holds between the function that made them and the one that sums them."""

from collections.abc import Iterable, Mapping

from sapflow.messages.refs import INLINE, Ref


class Held:
    """Inline contributions of one step, by key. They are gone with the driver, and the step is made again."""

    def __init__(self) -> None:
        self._contents: dict[str, bytes] = {}

    def take_in(self, attachments: Mapping[str, bytes]) -> None:
        """Keep what an answer has carried. A repeated call writes the same bytes under the same key."""
        self._contents.update(attachments)

    def attachments(self, refs: Iterable[Ref]) -> dict[str, bytes]:
        """What a request for these contributions has to carry."""
        return {ref.key: self._contents[ref.key] for ref in refs if ref.channel == INLINE}

    def drop(self, refs: Iterable[Ref]) -> None:
        """Their reader has answered."""
        for ref in refs:
            self._contents.pop(ref.key, None)

    def clear(self) -> None:
        """A commit stands: nothing of its making is needed any more."""
        self._contents.clear()

    def __len__(self) -> int:
        return len(self._contents)
