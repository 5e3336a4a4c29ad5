"""spec.prices: a platform's price table, a share of the price of your own nodes, or your own prices."""

from typing import Annotated

from pydantic import Field, StringConstraints, field_validator

from sapflow.quantities.memory import parse_quantity
from sapflow.quantities.prices import CUSTOM, NODE, PRICES, Price, node_price
from sapflow.spec.types import Cpu, Memory, Model, parse_cpu

PLATFORMS = sorted([*PRICES, NODE, CUSTOM])


class NodeSpec(Model):
    """A node of one's own, of whose price each function bears its share while it works."""

    usd_per_hour: Annotated[float, Field(gt=0)] = Field(alias="usdPerHour", description="Dollars an hour.")
    cpu: Cpu = Field(description="CPUs of the node, as a Kubernetes quantity.")
    memory: Memory = Field(description="Memory of the node, as a Kubernetes quantity.")


class CustomPricesSpec(Model):
    """A platform's prices, or one's own."""

    usd_per_gib_second: Annotated[float, Field(ge=0)] = Field(
        0, alias="usdPerGiBSecond", description="Dollars for a second of 1 GiB of memory limit."
    )
    usd_per_cpu_second: Annotated[float, Field(ge=0)] = Field(
        0, alias="usdPerCPUSecond", description="Dollars for a second of one CPU of limit."
    )
    usd_per_million_requests: Annotated[float, Field(ge=0)] = Field(
        0, alias="usdPerMillionRequests", description="Dollars for a million invocations."
    )
    granularity_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        0.001, description="Durations are rounded up to a multiple of this."
    )


class PricesSpec(Model):
    """What invocations are billed at."""

    platform: Annotated[
        str, StringConstraints(max_length=63), Field(json_schema_extra={"enum": PLATFORMS})
    ] = Field(
        "AWSLambda",
        description="Whose prices the cost is counted in; Node: a share of a node of your own, Custom: your prices.",
    )
    node: NodeSpec | None = Field(None, description="For platform Node: the node.")
    custom: CustomPricesSpec | None = Field(None, description="For platform Custom: the prices.")

    @field_validator("platform")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in PLATFORMS:
            raise ValueError(f"must be one of {', '.join(PLATFORMS)}")
        return value

    @property
    def price(self) -> Price:
        """The prices that the fields ask for."""
        if self.node is not None:
            return node_price(
                self.node.usd_per_hour, parse_cpu(self.node.cpu), parse_quantity(self.node.memory)
            )
        if self.custom is not None:
            return Price(
                platform=CUSTOM,
                dated=None,
                source="the prices of spec.prices.custom",
                usd_per_mb_second=self.custom.usd_per_gib_second / 1024,
                usd_per_vcpu_second=self.custom.usd_per_cpu_second,
                usd_per_request=self.custom.usd_per_million_requests / 1e6,
                granularity_seconds=self.custom.granularity_seconds,
            )
        return PRICES[self.platform]
