"""Groups of samples that stay together: the digests of their names, and the side that a hash chooses for each.

Nothing is kept of a group, so that memory does not grow with their number. The price is that the part held out is near
the fraction asked for only where there are many groups, of like sizes.
"""

import hashlib
from collections.abc import Iterable

import numpy as np

_SEED_OF = 4
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def digests(names: Iterable[str]) -> np.ndarray:
    """A number for each group's name, uint64 [n], the same on every machine."""
    known: dict[str, int] = {}
    found = []
    for name in names:
        number = known.get(name)
        if number is None:
            digest = hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest()
            number = known[name] = int.from_bytes(digest, "little")
        found.append(number)
    return np.array(found, np.uint64)


def held_groups(groups: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """bool [n]: whether the group, by its digest uint64 [n], is held out: `fraction` of all possible groups are."""
    return np.asarray(mixed(groups, seed) < np.uint64(int(fraction * 2**64)))


def mixed(numbers: np.ndarray, seed: int) -> np.ndarray:
    """uint64 [n]: each number (uint64 [n]) as another that looks drawn at random. Different ones stay different."""
    values = numbers ^ np.random.SeedSequence((seed, _SEED_OF)).generate_state(1, np.uint64)
    # The finaliser of splitmix64: each bit of the seed changes each bit of the number with probability one half.
    for shift, factor in _MIX:
        values = (values ^ (values >> np.uint64(shift))) * np.uint64(factor)
    values ^= values >> np.uint64(31)
    return np.asarray(values)
