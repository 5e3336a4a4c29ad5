"""Pure builders of a job's children, one module for each kind of child."""

from datetime import datetime
from typing import Any

from sapflow_operator.resources import (
    cell_volume,
    config_map,
    driver_job,
    knative_service,
    network_policy,
    role,
    role_binding,
    service_account,
)
from sapflow_operator.wanted import Wanted


def foundations(wanted: Wanted) -> list[dict[str, Any]]:
    """The children that cost nothing while the job waits."""
    return [
        service_account.build(wanted),
        role.build(wanted),
        role_binding.build(wanted),
        network_policy.build(wanted),
        network_policy.build_drivers(wanted),
        config_map.build(wanted),
    ]


def functions(wanted: Wanted) -> list[dict[str, Any]]:
    """The pool of functions."""
    return [knative_service.build(wanted, group) for group in wanted.groups]


def cell(wanted: Wanted, number: int) -> dict[str, Any]:
    """The children that a cell's functions share."""
    return cell_volume.build(wanted, number)


def driver(wanted: Wanted, ends: datetime | None = None) -> dict[str, Any]:
    """The children that run the driver. `ends` is when the resource reaches its deadline."""
    return driver_job.build(wanted, ends)
