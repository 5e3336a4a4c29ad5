"""`sapflow run --openwhisk`: a run whose functions are OpenWhisk actions, made from the function images."""

import argparse
import asyncio
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sapflow.client import session
from sapflow.client.session import Session
from sapflow.data.blocks import Manifest
from sapflow.driver.plans import Environment
from sapflow.errors import DataError, SpecError
from sapflow.objects.stores.factory import credentials_from_environment
from sapflow.quantities.memory import parse_quantity
from sapflow.quantities.roles import Role
from sapflow.steps.observer import Observer

if TYPE_CHECKING:
    from sapflow.runtimes.openwhisk import OpenWhiskSender

AT_ONCE = 30
"""Concurrent activations that OpenWhisk allows a namespace by default."""


def add_to(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "on OpenWhisk",
        "functions as actions instead of local processes, with OW_AUTH (`wsk property get --auth`) in the environment; "
        "they are made at the start and removed at the end, and the store must be one that they reach",
    )
    group.add_argument("--openwhisk", metavar="URL", help="the API host, https://…")
    group.add_argument(
        "--worker-image", metavar="NAME", help="the worker's image, where OpenWhisk can pull it"
    )
    group.add_argument("--merger-image", metavar="NAME", help="the merger's image")


def sender(given: argparse.Namespace, opened: Session, environ: Mapping[str, str]) -> "OpenWhiskSender":
    """The sender for the job's actions, which are not created yet.

    Raises SpecError if an option is missing, and DataError if the store cannot be used from OpenWhisk.
    """
    from sapflow.runtimes.openwhisk import (
        Action,
        OpenWhiskSender,
    )  # imports aiohttp, which no other run needs

    needed = {
        "OW_AUTH": (environ.get("OW_AUTH"), "is not set: set it to what `wsk property get --auth` prints"),
        "--worker-image": (given.worker_image, "is missing: name the worker's image"),
        "--merger-image": (given.merger_image, "is missing: name the merger's image"),
    }
    problems = [(name, remedy) for name, (value, remedy) in needed.items() if not value]
    if opened.job.spec.affinity is not None:
        message = "has no effect here: OpenWhisk's actions share no storage of a node; leave it out"
        problems.append(("spec.affinity", message))
    if problems:
        raise SpecError(problems)
    if not opened.store.remote:
        raise DataError(
            f"actions of OpenWhisk do not reach {opened.url}: keep the job in an object store, "
            "--store 's3://bucket/prefix?endpoint=http://host:9000'"
        )
    spec, token = opened.job.spec, secrets.token_urlsafe(32)
    told = {"SAPFLOW_TOKEN": token, "SAPFLOW_STORE": opened.url, **_credentials(environ)}
    images: dict[Role, tuple[str, str]] = {
        "worker": (given.worker_image, spec.memory.worker),
        "merger": (given.merger_image, spec.memory.merger),
    }
    actions = {
        role: Action(
            f"sapflow-{opened.uid}-{role}",
            image,
            parse_quantity(memory),
            spec.limits.invocation_seconds,
            told,
        )
        for role, (image, memory) in images.items()
    }
    instances = given.max_instances or AT_ONCE
    return OpenWhiskSender(given.openwhisk, environ["OW_AUTH"], actions, token, instances=instances)


async def train(
    opened: Session, manifest: Manifest, sender: "OpenWhiskSender", observer: Observer, forward_flops: int
) -> dict[str, Any]:
    """Create the actions, train, and remove the actions. Returns the outcome record.

    Raises JobFailed, InvocationError.
    """
    try:
        await sender.create()
    except BaseException:
        await asyncio.shield(sender.close())
        raise
    from sapflow.runtimes.openwhisk import REQUEST_BYTES

    # The planner treats OpenWhisk like a cluster: calls go through a gateway.
    environment = Environment("kubernetes", sender.instances, forward_flops, request_bytes=REQUEST_BYTES)
    return await session.train_by(opened, manifest, sender, observer, environment)


def _credentials(environ: Mapping[str, str]) -> dict[str, str]:
    source = credentials_from_environment(environ)
    if source is None:
        return {}
    keys = source.current()
    found = {"SAPFLOW_S3_ACCESS_KEY": keys.access_key, "SAPFLOW_S3_SECRET_KEY": keys.secret_key}
    return found | ({"SAPFLOW_S3_SESSION_TOKEN": keys.session_token} if keys.session_token else {})
