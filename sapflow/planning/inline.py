"""Chooses the levels of a merge tree whose contributions are inside requests and answers. Pure.

The driver holds inline contributions until their reader has answered. So there are three limits: on a contribution, on
a merger's request, and on all that the driver holds in a step.
"""

from collections.abc import Sequence

from sapflow.quantities import structure
from sapflow.quantities.memory import format_bytes

CONTRIBUTION = 256 << 10
"""The most bytes of one contribution's range."""
REQUEST = 4 << 20
"""The most bytes of a merger's children together, if its platform allows that much."""
STEP = 32 << 20
"""The most bytes of all contributions of a step together."""
VERSION = 512 << 10
"""The most bytes of a version, parameters and optimiser state, that the root's answer carries."""
COPIES = 2 << 20
"""The most bytes of the parameters that the requests of a step's workers carry together: a copy each. Beyond, the store
serves them faster than one driver."""


def fits(size: float, fan_in: int, request_bytes: int) -> bool:
    """Whether contributions of so many bytes, `fan_in` of them in a request, are small enough, their level apart."""
    return size <= CONTRIBUTION and fan_in * size <= min(REQUEST, request_bytes)


def inline_levels(
    tree: Sequence[int], shards: int, total: int, request_bytes: int = REQUEST
) -> tuple[int, ...]:
    """The levels (workers are 0) whose contributions are inline, from the workers up as far as the limits allow.

    `total` is the number of float32 elements of a contribution, `request_bytes` the platform's limit for a request.
    """
    size = 4 * -(-total // shards)
    found, held = [], 0
    for level, fan_in in enumerate(structure.fan_ins(tuple(tree))):
        of_level = structure.width(tuple(tree), level) * shards * size
        if fits(size, fan_in, request_bytes) and held + of_level <= STEP:
            found.append(level)
            held += of_level
    return tuple(found)


def version_travels(parameters: int, state: int, workers: int) -> bool:
    """Whether a version is small enough to be inside answers and requests until the driver has written it.

    `parameters` and `state` are numbers of float32 elements that the root writes, `workers` those that read.
    """
    size = 4 * parameters
    return size <= CONTRIBUTION and size + 4 * state <= VERSION and workers * size <= COPIES


def misfit(tree: Sequence[int], shards: int, total: int, request_bytes: int = REQUEST) -> str | None:
    """Why not all levels can be inline, and what to do about it; None if they can."""
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
