"""Shares of CPUs, in thousandths, and as Kubernetes writes them."""

from math import ceil

from sapflow.memory import MIB, parse_quantity
from sapflow.pricing import AWS_LAMBDA


def limit(memory: str, cpu: str | None) -> int:
    """Of a function: left out, what comes with its memory on public clouds, 1 vCPU for each 1,769 MiB."""
    if cpu is not None:
        return parse(cpu)
    return ceil(parse_quantity(memory) / MIB / AWS_LAMBDA.mb_per_vcpu * 1000)


def request(memory: str, cpu: str | None) -> int:
    """A tenth of the limit."""
    return ceil(limit(memory, cpu) / 10)


def parse(quantity: str) -> int:
    """Of a quantity such as 500m or 1.5."""
    return int(quantity[:-1]) if quantity.endswith("m") else round(float(quantity) * 1000)


def write(millis: int) -> str:
    """The quantity as the API server writes it, so that comparing finds no difference."""
    return str(millis // 1000) if millis % 1000 == 0 else f"{millis}m"
