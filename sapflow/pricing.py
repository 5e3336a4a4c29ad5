"""What an invocation costs: price tables with a date and a source."""

import math
from dataclasses import dataclass
from datetime import date

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Price:
    """How a platform bills one invocation of a function. A platform's "MB" is 2**20 bytes here."""

    platform: str
    dated: date
    source: str
    usd_per_mb_second: float
    usd_per_request: float
    granularity_seconds: float
    """Durations are rounded up to a multiple of this."""
    min_mb: int
    max_mb: int
    memory_step_mb: int
    mb_per_vcpu: float
    """Memory that brings one whole virtual CPU."""


_LAMBDA_SOURCE = (
    "AWS Lambda pricing page, requests and duration, US East (N. Virginia), first tier, no free tier"
)

AWS_LAMBDA = Price(
    platform="AWSLambda",
    dated=date(2026, 5, 1),
    source=_LAMBDA_SOURCE + ", x86",
    usd_per_mb_second=0.0000166667 / 1024,
    usd_per_request=0.20 / 1e6,
    granularity_seconds=0.001,
    min_mb=128,
    max_mb=10_240,
    memory_step_mb=1,
    mb_per_vcpu=1769,
)

AWS_LAMBDA_ARM = Price(
    platform="AWSLambdaArm",
    dated=date(2026, 5, 1),
    source=_LAMBDA_SOURCE + ", Arm",
    usd_per_mb_second=0.0000133334 / 1024,
    usd_per_request=0.20 / 1e6,
    granularity_seconds=0.001,
    min_mb=128,
    max_mb=10_240,
    memory_step_mb=1,
    mb_per_vcpu=1769,
)

PAPER_2018 = Price(
    platform="Paper2018",
    dated=date(2018, 7, 1),
    source="Feng, Kudva, Da Silva, Hu (CLOUD 2018), Table I and eq. 5; requests are not billed there",
    usd_per_mb_second=1.63e-8,
    usd_per_request=0.0,
    granularity_seconds=0.1,
    min_mb=128,
    max_mb=1536,
    memory_step_mb=64,
    mb_per_vcpu=1769,
)

PRICES: dict[str, Price] = {price.platform: price for price in (AWS_LAMBDA, AWS_LAMBDA_ARM, PAPER_2018)}


def billed_mb(price: Price, memory_bytes: int) -> int:
    """The size that is billed: rounded up to a size on offer. Above the largest the same rate is assumed."""
    steps = math.ceil(memory_bytes / (price.memory_step_mb * MIB))
    return max(price.min_mb, steps * price.memory_step_mb)


def cost(price: Price, memory_bytes: int, seconds: float) -> float:
    """USD for one invocation of `seconds` on a function of `memory_bytes`."""
    # A hair is taken off, so that 0.3 s, a little over 300 ms in binary, is not billed as 301.
    units = math.ceil(max(0.0, seconds) / price.granularity_seconds - 1e-6)
    billed_seconds = units * price.granularity_seconds
    return price.usd_per_request + price.usd_per_mb_second * billed_mb(price, memory_bytes) * billed_seconds


def vcpus(price: Price, memory_bytes: int) -> float:
    """Virtual CPUs that come with a function of `memory_bytes`."""
    return memory_bytes / MIB / price.mb_per_vcpu
