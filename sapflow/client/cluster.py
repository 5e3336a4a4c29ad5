"""A cluster for users' commands and programs: TrainingJobs, their pods, events and logs. Objects are plain dicts.

Reads and applies are repeated if that may help, and a watch that was cut off is resumed.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sapflow.client import cluster_job, kubeconfig
from sapflow.client.cluster_errors import ClusterRefused, JobUnknown, NotInstalled, told
from sapflow.kube.errors import ClusterError
from sapflow.kube.paths import Kind
from sapflow.spec.labels import GROUP, PLURAL, VERSION, selector

if TYPE_CHECKING:
    from sapflow.kube.blocking import BlockingApiClient

Object = dict[str, Any]

FIELD_MANAGER = "sapflow-cli"
SIDECAR = "queue-proxy"
"""The name of Knative's own container in every function's pod."""
TRAINING_JOBS = Kind(f"{GROUP}/{VERSION}", PLURAL)
PODS = Kind("v1", "pods")
EVENTS = Kind("v1", "events")

_LOG_OPTIONS = {
    "since_seconds": "sinceSeconds",
    "tail_lines": "tailLines",
    "previous": "previous",
    "timestamps": "timestamps",
}


def connect(
    environ: Mapping[str, str],
    *,
    namespace: str | None = None,
    context: str | None = None,
    config: str | None = None,
) -> "Cluster":
    """The cluster that the user's kubeconfig names (`config` is its path). No request is sent yet.

    `namespace` defaults to the context's. Raises ClientMissing, NoCluster.
    """
    access, usual = kubeconfig.log_in(config, context, environ)
    # Imported here because most commands do not use a cluster.
    from sapflow.kube.blocking import BlockingApiClient
    from sapflow.kube.client import ApiClient, Patience

    # 500 is not repeated: some API servers refuse an apply with it.
    patience = Patience(seconds=20.0, tries=3, pause=0.3, again=frozenset({429, 502, 503, 504}))
    return Cluster(BlockingApiClient(ApiClient(access, patience)), access.server, namespace or usual)


class Cluster:
    """One API server, as the user of a kubeconfig. `namespace` is the one to use where none is named.

    Safe to use from threads.
    """

    def __init__(self, api: "BlockingApiClient", server: str, namespace: str) -> None:
        self.server, self.namespace = server, namespace
        self._api = api

    def close(self) -> None:
        """End the requests under way. A cluster without references is closed by itself."""
        self._api.close()

    def job(self, namespace: str, name: str) -> Object:
        """A TrainingJob. Raises JobUnknown, ClusterRefused, ClusterUnavailable."""
        try:
            with self._told(f"read the job {name}"):
                return self._api.read(TRAINING_JOBS.path(namespace, name))
        except NotInstalled:
            raise
        except ClusterRefused as error:
            if error.status == 404:
                raise JobUnknown(
                    f"there is no job {name!r} in namespace {namespace} of {self.server}; "
                    f"`sapflow status -n {namespace}` lists those there are, `sapflow status -A` all"
                ) from error
            raise

    def jobs(self, namespace: str | None) -> list[Object]:
        """The TrainingJobs of a namespace, or of all if it is None. Raises ClusterRefused, ClusterUnavailable."""
        with self._told("list jobs"):
            return self._api.objects(TRAINING_JOBS.path(namespace))

    def pods(self, namespace: str, job: str, role: str | None = None) -> list[Object]:
        """A job's pods, oldest first. Raises ClusterRefused, ClusterUnavailable."""
        with self._told("list pods"):
            found = self._api.objects(PODS.path(namespace), {"labelSelector": selector(job, role)})
        return sorted(found, key=_created)

    def pod(self, namespace: str, name: str) -> Object | None:
        """A pod, or None if there is none. Raises ClusterRefused, ClusterUnavailable."""
        try:
            with self._told(f"read the pod {name}"):
                return self._api.read(PODS.path(namespace, name))
        except ClusterRefused as error:
            if error.status == 404:
                return None
            raise

    def events(self, namespace: str, uid: str) -> list[Object]:
        """The events of an object, oldest first. Raises ClusterRefused, ClusterUnavailable."""
        with self._told("list events"):
            found = self._api.objects(EVENTS.path(namespace), {"fieldSelector": f"involvedObject.uid={uid}"})
        return sorted(found, key=cluster_job.event_time)

    def apply(
        self, namespace: str, document: Mapping[str, Any], *, dry_run: bool = False, force: bool = False
    ) -> tuple[bool, Object]:
        """Apply a job server-side as its user wrote it. Returns whether it is new, and the job.

        Raises SpecError if the API server rejects fields, ClusterRefused, ClusterUnavailable.
        """
        name = document["metadata"]["name"]
        with self._told(f"apply the job {name}"):
            return self._api.apply(
                TRAINING_JOBS.path(namespace, name), document, FIELD_MANAGER, force=force, dry_run=dry_run
            )

    def delete(self, namespace: str, name: str) -> None:
        """Delete a TrainingJob and everything that belongs to it.

        Raises JobUnknown, ClusterRefused, ClusterUnavailable.
        """
        uid = self.job(namespace, name)["metadata"]["uid"]
        try:
            with self._told(f"delete the job {name}"):
                self._api.delete(TRAINING_JOBS.path(namespace, name), uid)
        except ClusterRefused as error:
            # It is gone already, perhaps after an earlier try whose answer was lost.
            if error.status != 404:
                raise

    def follow_job(self, namespace: str, name: str) -> Iterator[Object]:
        """Yields the job as it is now, and after each change.

        Raises JobUnknown if there is no such job (any more), ClusterRefused, ClusterUnavailable.
        """
        uid = self.job(namespace, name)["metadata"]["uid"]
        with self._told("watch the job"):
            for what, found in self._api.changes(
                TRAINING_JOBS.path(namespace), {"fieldSelector": f"metadata.name={name}"}
            ):
                if what == "DELETED" or [each["metadata"]["uid"] for each in found] != [uid]:
                    raise JobUnknown(f"the job {name} in namespace {namespace} was deleted")
                yield found[0]

    def follow_pods(self, namespace: str, job: str, role: str) -> Iterator[Object]:
        """Yields a job's pods of a role as they are now, and each after it changes. Deleted pods are ignored."""
        with self._told("watch pods"):
            for what, found in self._api.changes(
                PODS.path(namespace), {"labelSelector": selector(job, role)}
            ):
                if what != "DELETED":
                    yield from sorted(found, key=_created)

    def log(
        self, namespace: str, pod: str, container: str, *, follow: bool = False, **options: Any
    ) -> Iterator[str]:
        """The lines of a container's log; with `follow` until the container ends.

        `options` may have since_seconds, tail_lines, previous and timestamps. Raises ClusterRefused, and
        ClusterUnavailable, also if a followed log has been silent for long.
        """
        query = {"container": container} | ({"follow": "true"} if follow else {})
        query |= {_LOG_OPTIONS[name]: str(value).lower() for name, value in options.items()}
        with self._told(f"read the log of {pod}"):
            yield from self._api.lines(PODS.path(namespace, pod, "log"), query, follow=follow)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Translate refusals for people who wanted to do `what`. Raises the errors of `told`."""
        try:
            yield
        except ClusterError as error:
            raise told(what, self.server, error) from error


def _created(pod: Object) -> str:
    return str(pod["metadata"]["creationTimestamp"])
