"""Which levels of a merge tree hand their contributions on inside requests and answers. Pure.

The driver holds what is inline until its reader has answered, so there are three bounds: on a contribution, on what a
merger's request carries, and on what a driver holds in one step.
"""

from collections.abc import Sequence

from sapflow.quantities import structure
from sapflow.quantities.memory import format_bytes

CONTRIBUTION = 256 << 10
"""Bytes of one contribution's range, at most."""
REQUEST = 4 << 20
"""Bytes that a merger's children have together, at most, where its platform takes as much."""
STEP = 32 << 20
"""Bytes that all contributions of a step have together, at most."""


def inline_levels(
    tree: Sequence[int], shards: int, total: int, request_bytes: int = REQUEST
) -> tuple[int, ...]:
    """The levels, workers 0, whose contributions are inline; from the workers on, as far as the bounds allow.

    `total`: float32 elements of a whole contribution. `request_bytes`: what the platform takes in one request.
    """
    size = 4 * -(-total // shards)
    found, held = [], 0
    for level in range(structure.levels(tuple(tree))):
        fan_in = structure.fan_ins(tuple(tree))[level]
        of_level = structure.width(tuple(tree), level) * shards * size
        if size > CONTRIBUTION or fan_in * size > min(REQUEST, request_bytes) or held + of_level > STEP:
            continue
        found.append(level)
        held += of_level
    return tuple(found)


def misfit(tree: Sequence[int], shards: int, total: int, request_bytes: int = REQUEST) -> str | None:
    """Why not all levels can be inline, and what to do about it; None where they can."""
    if len(inline_levels(tree, shards, total, request_bytes)) == structure.levels(tuple(tree)):
        return None
    size, most = 4 * -(-total // shards), min(REQUEST, request_bytes)
    fan_in, held = max(structure.fan_ins(tuple(tree))), 4 * total * sum(tree[1:])
    return (
        f"Inline does not fit: a contribution's range has {format_bytes(size)} (at most "
        f"{format_bytes(CONTRIBUTION)}), a merger's children {format_bytes(fan_in * size)} (at most "
        f"{format_bytes(most)}), a step {format_bytes(held)} (at most {format_bytes(STEP)}); "
        "leave spec.merge.channel out, or take more shards or a smaller fan-in"
    )
