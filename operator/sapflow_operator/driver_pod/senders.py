"""How a driver calls the functions of its pool."""

from collections.abc import Callable, Mapping

from sapflow.quantities.roles import Role
from sapflow.runtimes.knative import KnativeSender
from sapflow_operator import names


def sender_to(
    pool: str,
    namespace: str,
    instances: Mapping[Role, int],
    token: Callable[[], str],
    cell: int | None = None,
) -> KnativeSender:
    """The sender to the Knative Services of a pool, of a placed job to those of a cell.

    `instances` is the most functions of each role, `token` returns the pool's current token.
    """
    return KnativeSender(
        {role: names.function_url(pool, namespace, role, cell) for role in instances},
        token,
        instances={role: max(count, 1) for role, count in instances.items()},
    )
