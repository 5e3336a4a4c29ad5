"""The SHA-256 of the objects that a version stands on, as commits record them.

They say what a step has come to, not what it stands on, so no key and no digest of a commit follows from them
(docs/adr/0027-a-commit-records-the-sha-256-of-its-objects.md). Commits of earlier releases have none.
"""

import hashlib
from collections.abc import Mapping, Sequence

from sapflow.messages.message import Message
from sapflow.messages.vectors import Part


class Digests(Message):
    """SHA-256s in hex digits, in the order of a commit's `params` and `optimizer`; None for one that nobody told."""

    params: list[str | None]
    optimizer: list[str | None] = []
    states: str | None = None
    """Of the ranks' own states that the version's step wrote: the SHA-256 of their SHA-256s, in the order of ranks."""


def digests(
    params: Sequence[Part], optimizer: Sequence[Part], known: Mapping[str, str], states: str | None = None
) -> Digests | None:
    """What a commit records, where `known` has the SHA-256 of objects by key; None if nothing is known of any."""
    found = Digests(
        params=[known.get(part.key) for part in params],
        optimizer=[known.get(part.key) for part in optimizer],
        states=states,
    )
    return found if states or any(found.params) or any(found.optimizer) else None


def by_key(recorded: Digests | None, params: Sequence[Part], optimizer: Sequence[Part]) -> dict[str, str]:
    """The recorded SHA-256 of each object, as far as it is known."""
    if recorded is None:
        return {}
    named = [*zip(params, recorded.params, strict=False), *zip(optimizer, recorded.optimizer, strict=False)]
    return {part.key: sha256 for part, sha256 in named if sha256 is not None}


def of_states(found: Mapping[int, str | None]) -> str | None:
    """`Digests.states` of the SHA-256 of each rank's state by rank; None if one is not known, or there are none."""
    if not found or None in found.values():
        return None
    text = "".join(str(found[rank]) for rank in sorted(found))
    return hashlib.sha256(text.encode()).hexdigest()
