"""Merge trees: which merger sums which children, and how long a tree takes (eqs. 1 and 3 of Feng et al., 2018).

A structure is written root first: (1, 22, 100) is 100 workers, 22 mergers, 1 root. Levels count from the
workers: level 0 is the workers, the last level is the root. Each level is cut into contiguous groups that are as
even as possible, so a merger's children are a range that follows from the structure alone.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise, product

Structure = tuple[int, ...]
Shape = tuple[tuple["Shape", int], ...]
"""The subtree below a node without indices: its distinct children and how often each occurs."""

MAX_LENGTH = 8


def validate(structure: Sequence[int], workers: int) -> list[str]:
    """The problems of a structure for this number of workers; empty if it is valid."""
    if not 2 <= len(structure) <= MAX_LENGTH:
        return [f"has {len(structure)} levels, it needs 2 (root and workers, [1, {workers}]) to {MAX_LENGTH}"]
    if min(structure) < 1:
        return [f"{list(structure)} holds a number below 1"]
    problems = []
    if structure[0] != 1:
        problems.append(f"starts at {structure[0]}, it must start at 1: there is one root")
    if structure[-1] != workers:
        problems.append(f"ends at {structure[-1]}, it must end at the number of workers, {workers}")
    for above, below in pairwise(structure):
        if above > below:
            problems.append(f"has {above} mergers above {below}: a level may not be wider than the one below")
    return problems


def levels(structure: Structure) -> int:
    """The number of levels that merge, the root's included; also the root's own level."""
    return len(structure) - 1


def width(structure: Structure, level: int) -> int:
    """m(level): the number of workers (level 0) or mergers on a level."""
    return structure[len(structure) - 1 - level]


def children(structure: Structure, level: int, index: int) -> range:
    """The indices on level - 1 that merger `index` of `level` ≥ 1 sums, in order; never empty."""
    below, here = width(structure, level - 1), width(structure, level)
    return range(index * below // here, (index + 1) * below // here)


def parent(structure: Structure, level: int, index: int) -> int:
    """The index on level + 1 of the merger that sums node `index` of `level`."""
    here, above = width(structure, level), width(structure, level + 1)
    return ((index + 1) * above - 1) // here


def active_groups(structure: Structure, present: Sequence[int]) -> dict[int, dict[int, list[int]]]:
    """For each merging level, the mergers that run and the children that each of them sums, in order.

    `present` are the ranks that contribute to this step. A merger none of whose children contributes does not run.
    Raises ValueError for a rank that the structure does not have.
    """
    workers = structure[-1]
    here = sorted(set(present))
    if here and not 0 <= here[0] <= here[-1] < workers:
        raise ValueError(f"ranks {here[0]} to {here[-1]} are not all among 0 to {workers - 1}")
    groups: dict[int, dict[int, list[int]]] = {}
    for level in range(1, levels(structure) + 1):
        groups[level] = {}
        for index in here:
            groups[level].setdefault(parent(structure, level - 1, index), []).append(index)
        here = list(groups[level])
    return groups


def shard_ranges(total: int, shards: int, block: int) -> list[tuple[int, int]]:
    """Cut `total` elements into ranges (start, stop) on block boundaries, whose lengths differ by at most one block.

    Raises ValueError if there are more shards than blocks.
    """
    blocks = max(1, -(-total // block))
    if not 1 <= shards <= blocks:
        raise ValueError(f"{total:,} elements can be cut into 1 to {blocks:,} shards, not {shards:,}")
    edges = [min(total, index * blocks // shards * block) for index in range(shards + 1)]
    return list(pairwise(edges))


def fan_ins(structure: Structure) -> list[int]:
    """The largest number of children of a merger on each merging level, workers' parents first."""
    upwards = structure[::-1]
    return [-(-below // above) for below, above in pairwise(upwards)]


def latency(structure: Structure, merge_seconds: float = 1.0) -> float:
    """Seconds from the last worker's contribution to the root's sum; each merged contribution takes `merge_seconds`.

    Eq. 1, t = t_m (n/m_1 + m_1/m_2 + … + m_k), with each quotient rounded up to a fan-in.
    """
    return merge_seconds * sum(fan_ins(structure))


def closed_form(workers: int, max_levels: int = 2) -> Structure:
    """The paper's optimum with at most `max_levels` levels between root and workers, in integers.

    Eq. 3 makes all k + 1 fan-ins equal to n^(1/(k+1)). Integer fan-ins of least latency are that number rounded down
    or up, because the least sum of integers whose product reaches n is a balanced one. Of equal latencies the one with
    fewer levels wins, then the one with fewer mergers.
    """
    if workers < 1:
        raise ValueError(f"a structure needs at least 1 worker, not {workers}")
    candidates = {built for k in range(max_levels + 1) for built in _rounded(workers, k)}
    return min(candidates, key=lambda built: (latency(built), len(built), sum(built), built))


def _rounded(workers: int, k: int) -> Iterator[Structure]:
    fan_in = workers ** (1 / (k + 1))
    for rounded in product((max(1, math.floor(fan_in)), math.ceil(fan_in)), repeat=k):
        widths = [workers]
        for each in rounded:
            widths.append(-(-widths[-1] // each))
        yield (1, *reversed(widths))


def draw(structure: Structure) -> str:
    """The tree as text. Equal siblings share one line, which says how many they are."""
    below: list[Shape] = [()] * structure[-1]
    for level in range(1, levels(structure) + 1):
        groups = (children(structure, level, index) for index in range(width(structure, level)))
        below = [_shape(below[group.start : group.stop]) for group in groups]
    return "\n".join(["root", *_lines(below[0], levels(structure) - 1)])


def _shape(nodes: Sequence[Shape]) -> Shape:
    counts: Mapping[Shape, int] = Counter(nodes)
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _lines(shape: Shape, level: int) -> Iterator[str]:
    for position, (child, count) in enumerate(shape):
        last = position == len(shape) - 1
        noun = "worker" if level == 0 else "merger"
        yield f"{'└─' if last else '├─'} {count} {noun}{'s' if count > 1 else ''}" + (
            ", each of" if level > 0 and count > 1 else " of" if level > 0 else ""
        )
        for line in _lines(child, level - 1):
            yield ("   " if last else "│  ") + line
