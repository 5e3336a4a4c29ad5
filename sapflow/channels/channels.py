"""The channels that a call of a function can use."""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from sapflow.channels.cell import CellChannel
from sapflow.channels.channel import Channel
from sapflow.channels.inline import InlineChannel
from sapflow.channels.store import StoreChannel
from sapflow.errors import StoreError
from sapflow.messages.refs import CELL, INLINE, STORE, Ref
from sapflow.objects.stores.cell import CellStore
from sapflow.objects.stores.protocol import Buffer, ObjectReader, Opens, Store


class Channels:
    """Reads and writes each contribution on the channel that its ref names."""

    def __init__(self, members: Mapping[str, Channel], inline: InlineChannel) -> None:
        self._members, self._inline = {**members, INLINE: inline}, inline

    @property
    def sent(self) -> dict[str, bytes]:
        """What the answer is to carry, by key."""
        return self._inline.sent

    def carries(self, keys: Collection[str]) -> bool:
        """Whether the request carries all of these objects, of which there is at least one."""
        return bool(keys) and all(map(self._inline.holds, keys))

    @property
    def carried(self) -> Opens:
        """The objects that the request carries, by key."""
        return self._inline.objects

    def send(self, key: str, parts: Sequence[Buffer]) -> None:
        """Have the answer carry an object."""
        self._inline.send(key, parts)

    def put(self, ref: Ref, parts: Sequence[Buffer]) -> bool:
        """Write an object. Returns False if another writer was first. Raises StoreError, also if this function does not
        have the channel."""
        return self._of(ref).put(ref, parts)

    def open(self, ref: Ref) -> ObjectReader:
        """Open an object to read it front to back. Raises ObjectMissing, CellLost, StoreUnavailable, StoreError."""
        return self._of(ref).open(ref)

    def remote(self, ref: Ref) -> bool:
        """Whether opening the object is a network round trip."""
        return self._of(ref).remote

    def _of(self, ref: Ref) -> Channel:
        member = self._members.get(ref.channel)
        if member is None:
            known = ", ".join(sorted(self._members))
            raise StoreError(f"{ref.key} is on channel {ref.channel!r}, and this function has: {known}")
        return member


def open_channels(store: Store, received: Mapping[str, Buffer] = MappingProxyType({})) -> Channels:
    """The channels of one call on its job's store; a function of a cell has the cell's volume too.

    `received`: inline contributions, and objects of a version, that the request carries, by key.
    """
    members: dict[str, Channel] = {STORE: StoreChannel(store)}
    if isinstance(store, CellStore):
        members[CELL] = CellChannel(store.cell, store.volume)
    return Channels(members, InlineChannel(received))
