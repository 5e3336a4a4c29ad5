"""The CPU limit of a function in a cluster."""

from sapflow.quantities.prices import AWS_LAMBDA, vcpus_of

LEAST = 1.0
"""The smallest CPU limit of functions that name none. It is a limit and not a request: nodes divide spare CPU."""


def limit(memory_bytes: int, named: float | None = None, *, by_memory: bool = False) -> float:
    """CPUs that a function of `memory_bytes` may use; `named` is the limit that its job gives.

    Without one it is what comes with its memory on public clouds, where that is strict (`by_memory`), else at least
    one CPU.
    """
    if named is not None:
        return named
    share = vcpus_of(AWS_LAMBDA, memory_bytes)
    return share if by_memory else max(LEAST, share)


def share(memory_bytes: int, named: float | None = None) -> float:
    """CPUs of which a function requests a tenth: its named limit, else what comes with its memory."""
    return limit(memory_bytes, named, by_memory=True)
