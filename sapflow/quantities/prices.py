"""What an invocation costs: price tables with a date and a source."""

import math
from dataclasses import dataclass
from datetime import date

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Price:
    """How one invocation of a function is billed. A platform's "MB" is 2**20 bytes here.

    An invocation costs its request, and for each second memory × its rate + virtual CPUs × their rate + the larger
    of its shares of a node's memory and CPUs × the node's rate.
    """

    platform: str
    dated: date | None
    """The day of the source; None for the user's own prices."""
    source: str
    usd_per_mb_second: float = 0.0
    usd_per_request: float = 0.0
    granularity_seconds: float = 0.001
    """Billed durations are rounded up to a multiple of this."""
    min_seconds: float = 0.0
    """The shortest duration that is billed."""
    min_mb: int = 1
    max_mb: int = 1 << 30
    memory_step_mb: int = 1
    mb_per_vcpu: float = 1769
    """Memory that comes with one virtual CPU, for functions without a CPU limit of their own."""
    usd_per_vcpu_second: float = 0.0
    usd_per_node_second: float = 0.0
    node_mb: float = 1.0
    node_vcpus: float = 1.0

    @property
    def name(self) -> str:
        """The prices as text, such as: AWSLambda prices of 2026-05-01."""
        return self.source if self.dated is None else f"{self.platform} prices of {self.dated}"


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

GOOGLE_CLOUD_RUN = Price(
    platform="GoogleCloudRun",
    dated=date(2026, 11, 25),
    source="Google Cloud Run pricing page, services billed by request, Tier 1 regions, no free tier; an undated copy",
    usd_per_mb_second=0.0000025 / 1024,
    usd_per_vcpu_second=0.000024,
    usd_per_request=0.40 / 1e6,
    granularity_seconds=0.1,
    min_mb=128,
    max_mb=32_768,
)

AZURE_FUNCTIONS = Price(
    platform="AzureFunctions",
    dated=date(2026, 11, 25),
    source="Azure Functions pricing page, Consumption plan, East US, no free grant; Azure bills memory that is used, "
    "the whole limit is counted here; an undated copy",
    usd_per_mb_second=0.000016 / 1024,
    usd_per_request=0.20 / 1e6,
    granularity_seconds=0.001,
    min_seconds=0.1,
    min_mb=128,
    max_mb=1536,
    memory_step_mb=128,
)

PRICES: dict[str, Price] = {
    price.platform: price
    for price in (AWS_LAMBDA, AWS_LAMBDA_ARM, AZURE_FUNCTIONS, GOOGLE_CLOUD_RUN, PAPER_2018)
}
"""Price tables by platform."""
NODE = "Node"
"""`prices.platform` for nodes of one's own: each function costs its share of a node's price while it works."""
CUSTOM = "Custom"
"""`prices.platform` for prices that the user gives."""


def node_price(usd_per_hour: float, vcpus: float, memory_bytes: int) -> Price:
    """Prices by which a function costs its share of a node's memory or CPUs, whichever is larger, by the second."""
    return Price(
        platform=NODE,
        dated=None,
        source=f"${usd_per_hour:g} an hour for a node of {vcpus:g} CPUs and {memory_bytes / MIB / 1024:.3g} GiB",
        usd_per_node_second=usd_per_hour / 3600,
        node_mb=memory_bytes / MIB,
        node_vcpus=vcpus,
    )


def billed_mb(price: Price, memory_bytes: int) -> int:
    """The memory that is billed in MiB, rounded up to a size that the platform offers.

    A size above the largest one is billed at the same rate.
    """
    steps = math.ceil(memory_bytes / (price.memory_step_mb * MIB))
    return max(price.min_mb, steps * price.memory_step_mb)


def cost(price: Price, memory_bytes: int, seconds: float, vcpus: float | None = None) -> float:
    """USD for one invocation of `seconds` on a function of `memory_bytes`.

    `vcpus` is its CPU limit; None means the CPUs that come with its memory.
    """
    # A millionth is subtracted, so that 0.3 s, which is a little more than 300 ms in binary, is not billed as 301 ms.
    units = math.ceil(max(0.0, seconds, price.min_seconds) / price.granularity_seconds - 1e-6)
    return price.usd_per_request + units * price.granularity_seconds * _rate(price, memory_bytes, vcpus)


def _rate(price: Price, memory_bytes: int, vcpus: float | None) -> float:
    """USD a second."""
    megabytes = billed_mb(price, memory_bytes)
    processors = vcpus_of(price, memory_bytes) if vcpus is None else vcpus
    share = max(megabytes / price.node_mb, processors / price.node_vcpus)
    return (
        price.usd_per_mb_second * megabytes
        + price.usd_per_vcpu_second * processors
        + price.usd_per_node_second * share
    )


def vcpus_of(price: Price, memory_bytes: int) -> float:
    """Virtual CPUs that come with a function of `memory_bytes`."""
    return memory_bytes / MIB / price.mb_per_vcpu
