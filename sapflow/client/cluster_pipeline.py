"""The searches and jobs of a pipeline that was applied to a cluster, in their store as that is reached from here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sapflow.client import cluster_store
from sapflow.client.cluster import Cluster, Object
from sapflow.client.cluster_errors import JobUnknown
from sapflow.client.cluster_kinds import MODEL_SERVICES, TRAINING_JOBS, TUNING_JOBS
from sapflow.client.pipeline_plan import Document
from sapflow.client.session import Session
from sapflow.client.submission import namespace_of
from sapflow.client.tuning import TuningSession
from sapflow.spec.tuning_job import TuningJob


@dataclass(frozen=True, slots=True)
class ClusterPipeline:
    """A pipeline's documents as resources of a namespace."""

    cluster: Cluster
    namespace: str | None
    """That which was asked for."""

    def session(
        self, document: Document, store: str | None, environ: Mapping[str, str]
    ) -> Session | TuningSession | None:
        """What the store has of a document; None where it still waits for another.

        Raises JobUnknown if it was not applied, DataError, StoreError, ClusterRefused, ClusterUnavailable.
        """
        found = self._resource(document)
        if isinstance(document, TuningJob):
            return cluster_store.tuning_of(found, store, environ)
        if _waits(found):
            return None
        return cluster_store.session_of(found, store, environ)

    def counted(self, document: Document) -> dict[str, Any]:
        """The URL of the ModelService of a document's `spec.serve`, and what it has counted; nothing where there is
        none yet. Raises ClusterRefused, ClusterUnavailable."""
        serve = document.spec.serve
        name = document.metadata.name if serve is None else serve.name or document.metadata.name
        try:
            status = self.cluster.job(self._namespace(document), name, MODEL_SERVICES).get("status", {})
        except JobUnknown:
            return {}
        requests = {each: float(status.get(each, 0)) for each in ("requests", "errors")}
        return {"url": status.get("url"), "requests": requests}

    def _resource(self, document: Document) -> Object:
        kind = TUNING_JOBS if isinstance(document, TuningJob) else TRAINING_JOBS
        return self.cluster.job(self._namespace(document), document.metadata.name, kind)

    def _namespace(self, document: Document) -> str:
        return namespace_of({"metadata": document.metadata.model_dump()}, self.namespace, self.cluster)


def _waits(job: Object) -> bool:
    """Whether a job has no driver yet, because its search has not ended."""
    return bool(job["spec"].get("parametersFrom")) and "origin" not in job.get("status", {})
