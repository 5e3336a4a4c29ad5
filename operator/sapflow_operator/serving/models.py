"""Finds the model that a ModelService is to serve: the result of a job or a search of its namespace, or a file."""

import asyncio
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from sapflow.errors import SapflowError, SpecError
from sapflow.objects import keys
from sapflow.objects.stores.credentials import Credentials
from sapflow.spec.model_service import ModelServiceSpec, ServedModelSpec
from sapflow.spec.trial_names import trial_named
from sapflow_operator import names
from sapflow_operator.api.cluster import Cluster
from sapflow_operator.chosen_model import ChosenModel
from sapflow_operator.errors import ModelNotReady
from sapflow_operator.kinds.registry import KINDS
from sapflow_operator.names import Resource
from sapflow_operator.observed import JobObject
from sapflow_operator.settings import Settings
from sapflow_operator.store import objects
from sapflow_operator.store.model_header import read_header
from sapflow_operator.store.owners import owner_of
from sapflow_operator.wanted import Place

_BY_KIND = {each.resource.kind: each for each in KINDS}
_OWN_AREAS = (keys.JOBS, keys.SHARED)


def source_of(model: ServedModelSpec) -> str:
    """What a service says that it serves, such as `TrainingJob/flights`."""
    resource, name = _named(model)
    return str(model.uri) if resource is None else f"{resource.kind}/{name}"


def serves(service: JobObject, resource: Resource, name: str) -> bool:
    """Whether a service serves the model of this job or search, or of a trial of it."""
    model = service.spec.get("model", {})
    if resource == names.TUNING_JOB:
        trial = trial_named(str(model.get("job", "")))
        return model.get("tuning") == name or (trial is not None and trial.search == name)
    return bool(resource == names.TRAINING_JOB and model.get("job") == name)


def _named(model: ServedModelSpec) -> tuple[Resource | None, str]:
    """The resource whose model it is, and its name, which for a trial is its search's with what follows."""
    if model.job is not None:
        return (names.TUNING_JOB if trial_named(model.job) else names.TRAINING_JOB), model.job
    if model.tuning is not None:
        return names.TUNING_JOB, model.tuning
    return None, ""


class Models:
    """Finds models. What was found once stays in the service's status, because the job may go."""

    def __init__(self, settings: Settings, cluster: Cluster) -> None:
        self._settings, self._cluster = settings, cluster

    async def find(self, service: JobObject, spec: ModelServiceSpec, place: Place) -> ChosenModel:
        """The model that the service is to serve now; while it is being made anew, the one that it had.

        Raises ModelNotReady if there has been none yet, SpecError, StoreError, SecretUnusable, ClusterError.
        """
        known = service.status.get("model")
        before = None if known is None else ChosenModel.of_status(known)
        if before is not None and before.source != source_of(spec.model):
            before = None
        try:
            return await self._find(service, spec, place, before)
        except SapflowError as error:
            if before is None or not error.retryable:
                raise
            return before

    async def _find(
        self, service: JobObject, spec: ModelServiceSpec, place: Place, before: ChosenModel | None
    ) -> ChosenModel:
        resource, name = _named(spec.model)
        owner = await owner_of(place, service.namespace, self._cluster, self._settings)
        if resource is None:
            found = _of_file(spec.model, place)
        else:
            found = await self._of_job(service, resource, name, place, owner)
        if before is not None and (before.uri, before.sha256) == (found.uri, found.sha256):
            return replace(before, entrypoint=found.entrypoint, image=found.image)
        header = await asyncio.to_thread(read_header, place, owner, found.key)
        if header.entrypoint is not None and header.entrypoint != found.entrypoint:
            raise SpecError(
                [
                    (
                        "spec.model.entrypoint",
                        f"the model is built by {header.entrypoint}: say so, as consent to run it, with the image that "
                        "has it",
                    )
                ]
            )
        return replace(found, torch=header.torch)

    async def _of_job(
        self, service: JobObject, resource: Resource, name: str, place: Place, owner: Credentials
    ) -> ChosenModel:
        trial = trial_named(name)
        body = await self._cluster.get(resource.kind, service.namespace, trial.search if trial else name)
        if body is None:
            raise ModelNotReady(
                f"there is no {resource.kind} {name} in namespace {service.namespace}; it is waited for"
            )
        job = JobObject.read(body, resource)
        theirs, _ = _BY_KIND[resource.kind].place_and_policy(job, self._settings)
        if (theirs.endpoint, theirs.bucket) != (place.endpoint, place.bucket):
            raise SpecError(
                [
                    (
                        "spec.storage",
                        f"the model of {name} is in bucket {theirs.bucket} at {theirs.endpoint}: name that store",
                    )
                ]
            )
        result = job.status.get("result", {})
        prefix = keys.job(job.uid)
        if trial is not None and trial.number is not None:
            prefix = keys.trial(prefix, trial.number)
            result = await asyncio.to_thread(objects.read_outcome, place, owner, keys.uid_of(prefix))
        if "uri" not in result or "sha256" not in result:
            raise ModelNotReady(f"{resource.kind} {name} has no model yet; it is waited for")
        uri = str(result["uri"]).partition("?")[0]
        key = urlsplit(uri).path.lstrip("/")
        if not key.startswith(keys.job(job.uid)):
            raise SpecError([("spec.model", f"{name} says that its model is {uri}, which is not its own")])
        spec = job.spec if resource == names.TRAINING_JOB else job.spec.get("template", {}).get("spec", {})
        own = spec.get("model", {})
        source = f"{resource.kind}/{name}"
        return ChosenModel(
            f"s3://{place.bucket}/{key}",
            str(result["sha256"]),
            source,
            torch=True,
            entrypoint=own.get("entrypoint"),
            image=own.get("image"),
        )


def _of_file(model: ServedModelSpec, place: Place) -> ChosenModel:
    """The model of a file that the spec names. Raises SpecError."""
    uri = str(model.uri)
    parts = urlsplit(uri)
    problem: str | None = None
    if parts.netloc != place.bucket:
        problem = f"is in another bucket than {place.bucket}: name its store as spec.storage"
    elif place.secret_name is None and parts.path.lstrip("/").startswith(_OWN_AREAS):
        problem = (
            "is in a job's folder of the operator's own store: name the job as model.job, or copy result/ to a folder "
            "of your own"
        )
    if problem is not None:
        raise SpecError([("spec.model.uri", problem)])
    given: dict[str, Any] = {"entrypoint": model.entrypoint, "image": model.image}
    return ChosenModel(uri, str(model.sha256), uri, torch=True, **given)
