"""Sizes of memory: Kubernetes quantities, and the least memory that a worker or merger needs for a model.

The estimates are lower bounds, so a size that is refused would certainly have been too small. They count memory that
cannot be reclaimed (anonymous and shared); pages of libraries, which a kernel under pressure drops and
reads again, are left out. The constants were read from RssAnon in /proc/self/status on x86-64 Linux,
Python 3.11: `import torch, fastapi, uvicorn` (torch 2.15 from PyPI), 304 MiB, and the same after one
backward pass of a small network; `import numpy, fastapi, uvicorn`, 34 MiB.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from math import ceil

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

WORKER_BASE = 304 * MIB
MERGER_BASE = 34 * MIB

_FLOAT = 4
_UNITS = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": KIB,
    "Mi": MIB,
    "Gi": GIB,
    "Ti": 1 << 40,
}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([A-Za-z]*)")


def parse_quantity(text: str) -> int:
    """Bytes of a Kubernetes memory quantity such as 512Mi, 1.5Gi, 256M or 1048576, rounded up.

    Raises ValueError, which says what is allowed; zero is refused too.
    """
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r} is not a quantity of memory: write a number and a unit, as in 512Mi or 1.5Gi"
        )
    number, unit = match.groups()
    if unit not in _UNITS:
        raise ValueError(
            f"{text!r} has the unit {unit!r}{_meant(unit)}; units are {', '.join(filter(None, _UNITS))}"
        )
    size = ceil(Decimal(number) * _UNITS[unit])
    if size == 0:
        raise ValueError(f"{text!r} is no memory at all")
    return size


def _meant(unit: str) -> str:
    if unit == "m":
        return ", which is thousandths of a byte in Kubernetes (did you mean Mi or M?)"
    near = [known for known in _UNITS if known and known.lower() == unit.lower().removesuffix("b")]
    return f" (did you mean {near[0]}?)" if near else ""


def format_quantity(size: int) -> str:
    """The shortest exact Kubernetes quantity of `size` bytes in binary units: parse_quantity's inverse."""
    for unit in ("Ti", "Gi", "Mi", "Ki"):
        if size and size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]}{unit}"
    return str(size)


def format_bytes(size: float) -> str:
    """Bytes as text for people, such as 73.5 MiB."""
    for unit, factor in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if abs(size) >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size:.0f} B"


@dataclass(frozen=True, slots=True)
class Estimate:
    """The least memory that a function needs, in bytes by cause."""

    parts: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.parts.values())

    def shortage(self, limit: int) -> str | None:
        """Why `limit` bytes are too few, or None if they may be enough."""
        if self.total <= limit:
            return None
        listed = ", ".join(f"{format_bytes(size)} {cause}" for cause, size in self.parts.items() if size)
        return f"{format_bytes(limit)} is below the {format_bytes(self.total)} needed at least: {listed}"


def estimate_worker(
    *,
    parameters: int,
    buffers: int,
    activations_per_sample: int,
    micro_batch: int,
    block_bytes: int,
    slots: int = 0,
    local_steps: int = 1,
    frozen: int = 0,
) -> Estimate:
    """The least memory of a worker that trains.

    `parameters`, those without gradients (`frozen`) and `buffers` are numbers of float32 values,
    `activations_per_sample` of those kept for backward; `block_bytes` is the data held at once. With `local_steps`
    above 1 a worker also keeps the parameters that it started from and `slots` state vectors of the optimiser.
    """
    copies = 2 + (1 + slots if local_steps > 1 else 0)
    return Estimate(
        {
            "for Python and torch": WORKER_BASE,
            "for parameters, gradients and optimizer state": _FLOAT
            * (copies * parameters + 2 * buffers + frozen),
            # Backward makes about one gradient for each saved value: 2.2 to 4.6 times the saved bytes were measured.
            "for the activations of a micro-batch": 2 * _FLOAT * activations_per_sample * micro_batch,
            "for blocks of data": block_bytes,
        }
    )


def estimate_merger(contribution_bytes: int, *, parameters: int = 0, slots: int = 0) -> Estimate:
    """The least memory of a merger that sums contributions of `contribution_bytes` (those of one shard).

    The root also holds `parameters` float32 values of its shard, and `slots` state vectors of that length.
    """
    return Estimate(
        {
            "for Python and numpy": MERGER_BASE,
            "for the sum": contribution_bytes,
            "for parameters and optimizer state": _FLOAT * parameters * (1 + slots),
        }
    )


def estimate_mergers(*, total: int, parameters: int, slots: int, shards: int, frozen: int = 0) -> Estimate:
    """The least memory of a job's mergers: the larger of the root's for one shard and the export's for the result.

    A contribution has `total` values, of which `parameters` are trained by an optimiser with `slots` state vectors;
    `frozen` more are only in the result.
    """
    root = estimate_merger(_FLOAT * -(-total // shards), parameters=-(-parameters // shards), slots=slots)
    export = estimate_merger(_FLOAT * (total + frozen))
    return max(root, export, key=lambda estimate: estimate.total)
