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
from sapflow.records.commits import Account
from sapflow.steps.observer import Observer

if TYPE_CHECKING:
    from sapflow.runtimes.openwhisk.limits import Limits
    from sapflow.runtimes.openwhisk.sender import OpenWhiskSender


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
    group.add_argument(
        "--pool-memory",
        metavar="SIZE",
        help="the memory that OpenWhisk has for all containers, such as 2Gi (`userMemory` of an invoker's container "
        "pool × invokers): no more calls are at work at once than containers fit in",
    )
    group.add_argument(
        "--action-logs",
        type=int,
        metavar="MIB",
        help="the most that OpenWhisk collects of an activation's log; 0: nothing, and containers are free earlier",
    )


def check(given: argparse.Namespace, opened: Session, environ: Mapping[str, str]) -> None:
    """Raise SpecError if an option is missing or wrong, and DataError if the store cannot be used from OpenWhisk."""
    needed = {
        "OW_AUTH": (environ.get("OW_AUTH"), "is not set: set it to what `wsk property get --auth` prints"),
        "--worker-image": (given.worker_image, "is missing: name the worker's image"),
        "--merger-image": (given.merger_image, "is missing: name the merger's image"),
    }
    problems = [(name, remedy) for name, (value, remedy) in needed.items() if not value]
    if opened.job.spec.affinity is not None:
        message = "has no effect here: OpenWhisk's actions share no storage of a node; leave it out"
        problems.append(("spec.affinity", message))
    if given.pool_memory is not None:
        try:
            parse_quantity(given.pool_memory)
        except ValueError as error:
            problems.append(("--pool-memory", str(error)))
    if problems:
        raise SpecError(problems)
    if not opened.store.remote:
        raise DataError(
            f"actions of OpenWhisk do not reach {opened.url}: keep the job in an object store, "
            "--store 's3://bucket/prefix?endpoint=http://host:9000'"
        )


def limits(given: argparse.Namespace, opened: Session, environ: Mapping[str, str]) -> "Limits":
    """What OpenWhisk allows the namespace. Raises SpecError if it would refuse the job, and InvocationError."""
    from sapflow.runtimes.openwhisk.api import Api  # imports aiohttp, which no other run needs
    from sapflow.runtimes.openwhisk.limits import limits_of

    async def ask() -> "Limits":
        api = Api(given.openwhisk, environ["OW_AUTH"])
        try:
            return await limits_of(api)
        finally:
            await api.close()

    found = asyncio.run(ask())
    if problems := found.problems(
        _sizes(opened), opened.job.spec.limits.invocation_seconds, given.action_logs
    ):
        raise SpecError(problems)
    return found


def sender(
    given: argparse.Namespace, opened: Session, environ: Mapping[str, str], allowed: "Limits"
) -> "OpenWhiskSender":
    """The sender for the job's actions, which are not created yet."""
    from sapflow.runtimes.openwhisk.action import Action
    from sapflow.runtimes.openwhisk.api import Api
    from sapflow.runtimes.openwhisk.sender import OpenWhiskSender

    spec, token = opened.job.spec, secrets.token_urlsafe(32)
    told = {"SAPFLOW_TOKEN": token, "SAPFLOW_STORE": opened.url, **_credentials(environ)}
    images: dict[Role, str] = {"worker": given.worker_image, "merger": given.merger_image}
    sizes = _sizes(opened)
    actions = {
        role: Action(
            f"sapflow-{opened.uid}-{role}",
            image,
            sizes[role],
            allowed.time_limit(spec.limits.invocation_seconds),
            told,
            given.action_logs,
        )
        for role, image in images.items()
    }
    pool = None if given.pool_memory is None else parse_quantity(given.pool_memory)
    instances = given.max_instances or allowed.instances(sizes, pool)
    return OpenWhiskSender(Api(given.openwhisk, environ["OW_AUTH"]), actions, token, instances=instances)


def _sizes(opened: Session) -> dict[Role, int]:
    memory = opened.job.spec.memory
    return {"worker": parse_quantity(memory.worker), "merger": parse_quantity(memory.merger)}


async def train(
    opened: Session,
    manifest: Manifest,
    sender: "OpenWhiskSender",
    observer: Observer,
    forward_flops: int,
    workers: int | None = None,
    account: Account | None = None,
) -> dict[str, Any]:
    """Create the actions, train, and remove the actions. Returns the outcome record. `account` is what was consumed to
    prepare the data.

    Raises JobFailed, InvocationError.
    """
    try:
        await sender.create()
    except BaseException:
        await asyncio.shield(sender.close())
        raise
    from sapflow.runtimes.openwhisk.sender import REQUEST_BYTES

    # The planner treats OpenWhisk like a cluster: calls go through a gateway.
    environment = Environment("kubernetes", sender.instances, forward_flops, request_bytes=REQUEST_BYTES)
    return await session.train_by(opened, manifest, sender, observer, environment, workers, account)


def _credentials(environ: Mapping[str, str]) -> dict[str, str]:
    source = credentials_from_environment(environ)
    if source is None:
        return {}
    keys = source.current()
    found = {"SAPFLOW_S3_ACCESS_KEY": keys.access_key, "SAPFLOW_S3_SECRET_KEY": keys.secret_key}
    return found | ({"SAPFLOW_S3_SESSION_TOKEN": keys.session_token} if keys.session_token else {})
