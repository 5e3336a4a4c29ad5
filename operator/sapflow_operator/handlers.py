"""kopf's handlers. Each calls the controller and translates errors."""

import asyncio
from collections.abc import Sequence
from typing import Any

import kopf

from sapflow.errors import SapflowError
from sapflow_operator import names
from sapflow_operator.api.cluster import log_in
from sapflow_operator.heap import keep_small
from sapflow_operator.resource_controller import ResourceController

_RETRY_SECONDS = 2.0


_CHILDREN = (("serving.knative.dev", "v1", "services"), ("batch", "v1", "jobs"), ("", "v1", "pods"))
"""The kinds of children that are watched."""

CHANGED, DELETED = "changed", "deleted"
"""Names of the handlers, in annotations of the resources."""


def register(registry: kopf.OperatorRegistry, controllers: Sequence[ResourceController]) -> None:
    """Add the handlers to a registry: those of the operator itself, of each controller's kind, and of all children."""

    @kopf.on.login(registry=registry)
    async def login(settings: kopf.OperatorSettings, **_: Any) -> kopf.ConnectionInfo | None:
        # This registry does not have kopf's predefined handlers.
        return log_in(settings)

    background: list[asyncio.Task[None]] = []

    @kopf.on.startup(registry=registry)
    async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
        configure(settings)
        for controller in controllers:
            await controller.start()
        background.append(asyncio.create_task(keep_small()))

    @kopf.on.cleanup(registry=registry)
    async def stop(**_: Any) -> None:
        for task in background:
            task.cancel()
        for controller in controllers:
            await controller.stop()

    for each in controllers:
        _register_kind(registry, each)
    by_kind = {each.resource.kind: each for each in controllers}

    async def child_changed(namespace: str | None, labels: kopf.Labels, **_: Any) -> None:
        job, controller = labels.get(names.JOB_LABEL), by_kind.get(names.kind_of(labels))
        if job and controller is not None:
            controller.touch(str(namespace), job)

    for child in _CHILDREN:
        kopf.on.event(*child, registry=registry)(child_changed)


def _register_kind(registry: kopf.OperatorRegistry, controller: ResourceController) -> None:
    """The handlers of the resources of one kind.

    kopf keeps what a handler has tried in an annotation of the resource, which is named after the handler: without an
    `id` after the function's qualified name, and an annotation's must not begin with an underscore.
    """
    watched = (names.GROUP, names.VERSION, controller.resource.plural)

    @kopf.on.event(*watched, registry=registry)
    async def seen(type: str | None, body: kopf.Body, **_: Any) -> None:
        controller.seen(body, gone=type == "DELETED")

    @kopf.on.resume(*watched, id=CHANGED, registry=registry)
    @kopf.on.create(*watched, id=CHANGED, registry=registry)
    @kopf.on.update(*watched, id=CHANGED, registry=registry)
    async def changed(namespace: str | None, name: str | None, **_: Any) -> None:
        try:
            await controller.reconcile(str(namespace), str(name))
        except SapflowError as error:
            raise kopf.TemporaryError(str(error), delay=_RETRY_SECONDS) from error

    @kopf.on.delete(*watched, id=DELETED, registry=registry)
    async def deleted(namespace: str | None, name: str | None, **_: Any) -> None:
        try:
            done = await controller.finalize(str(namespace), str(name))
        except SapflowError as error:
            raise kopf.TemporaryError(str(error), delay=_RETRY_SECONDS) from error
        if not done:
            raise kopf.TemporaryError("its driver still ends", delay=_RETRY_SECONDS / 2)


def configure(settings: kopf.OperatorSettings) -> None:
    """Configure kopf: its state is in annotations with our prefix, it makes no Events, and watches only our objects."""
    settings.persistence.finalizer = names.FINALIZER
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=f"operator.{names.GROUP}")
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=f"operator.{names.GROUP}")
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.networking.request_timeout = 30
    for group, _, plural in _CHILDREN:
        settings.watching.label_selectors[group, plural] = names.JOB_LABEL
