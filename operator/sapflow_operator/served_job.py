"""The ModelService that `spec.serve` of a job or a search asks for. Pure."""

import json
from collections.abc import Mapping
from typing import Any

from sapflow.objects import keys
from sapflow_operator import names
from sapflow_operator.actions import Serve
from sapflow_operator.observed import JobObject

Object = Mapping[str, Any]


def asked(job: JobObject) -> Object | None:
    """The ModelService that a job with a model asks for; None if it asks for none, or has none.

    It has no owner: it stays when the job is deleted, and serves the next one of its name.
    """
    serve = job.spec.get("serve")
    if serve is None or "uri" not in job.status.get("result", {}):
        return None
    spec = {field: value for field, value in serve.items() if field != "name"}
    searches = job.resource == names.TUNING_JOB
    spec["model"] = {"tuning" if searches else "job": job.name}
    inner = job.spec.get("template", {}).get("spec", {}) if searches else job.spec
    if (storage := inner.get("storage")) is not None:
        spec["storage"] = storage
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.MODEL_SERVICE.kind,
        "metadata": {
            "name": serve.get("name") or job.name,
            "namespace": job.namespace,
            "annotations": {names.SERVED_BY: source(job)},
        },
        "spec": spec,
    }


def source(job: JobObject) -> str:
    """What a service that a job has made says of whose it is."""
    return f"{job.resource.kind}/{job.name}"


def due(job: JobObject) -> tuple[Serve, dict[str, Any]] | None:
    """What to do for a job with a model whose `spec.serve` has not been followed yet, and `status.serving` after it.

    Once for each state of `spec.serve`: a service that somebody deletes stays deleted, and what somebody changes of it
    stays so.
    """
    manifest = asked(job)
    if manifest is None:
        return None
    digest = keys.digest([json.dumps(manifest, sort_keys=True), job.status["result"]["uri"]])
    if job.status.get("serving", {}).get("digest") == digest:
        return None
    return Serve(manifest), {"name": manifest["metadata"]["name"], "digest": digest}


def may_update(job: JobObject, standing: Object) -> bool:
    """Whether a ModelService that is there is one that this job, or an earlier one of its name, has made."""
    annotations = standing["metadata"].get("annotations", {})
    return bool(annotations.get(names.SERVED_BY) == source(job))
