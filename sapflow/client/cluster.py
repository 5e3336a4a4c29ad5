"""A cluster as a user of it sees it: TrainingJobs, their pods, events and logs. Objects are plain dicts.

Reads and applies are tried again where that may help; a watch goes on where it was cut off.
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
"""Knative's own container in every function's pod."""
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
    """The cluster that the user's kubeconfig names (`config` is its path); nothing is asked of it yet.

    `namespace` left out is the context's. Raises ClientMissing, NoCluster.
    """
    access, usual = kubeconfig.log_in(config, context, environ)
    # Loaded here: most commands ask no cluster.
    from sapflow.kube.blocking import BlockingApiClient
    from sapflow.kube.client import ApiClient, Patience

    # Not 500: that is how some API servers refuse an apply for good.
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
        """End what is under way. A cluster that nobody holds any more is closed by itself."""
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
        """The TrainingJobs of a namespace; None: of all. Raises ClusterRefused, ClusterUnavailable."""
        with self._told("list jobs"):
            return self._api.objects(TRAINING_JOBS.path(namespace))

    def pods(self, namespace: str, job: str, role: str | None = None) -> list[Object]:
        """A job's pods, oldest first. Raises ClusterRefused, ClusterUnavailable."""
        with self._told("list pods"):
            found = self._api.objects(PODS.path(namespace), {"labelSelector": selector(job, role)})
        return sorted(found, key=_created)

    def pod(self, namespace: str, name: str) -> Object | None:
        """A pod, None where there is none. Raises ClusterRefused, ClusterUnavailable."""
        try:
            with self._told(f"read the pod {name}"):
                return self._api.read(PODS.path(namespace, name))
        except ClusterRefused as error:
            if error.status == 404:
                return None
            raise

    def events(self, namespace: str, uid: str) -> list[Object]:
        """What was said of an object, oldest first. Raises ClusterRefused, ClusterUnavailable."""
        with self._told("list events"):
            found = self._api.objects(EVENTS.path(namespace), {"fieldSelector": f"involvedObject.uid={uid}"})
        return sorted(found, key=cluster_job.event_time)

    def apply(
        self, namespace: str, document: Mapping[str, Any], *, dry_run: bool = False, force: bool = False
    ) -> tuple[bool, Object]:
        """Server-side apply of a job as its user wrote it: whether it is new, and the job.

        Raises SpecError: what the API server rejects; ClusterRefused, ClusterUnavailable.
        """
        name = document["metadata"]["name"]
        with self._told(f"apply the job {name}"):
            return self._api.apply(
                TRAINING_JOBS.path(namespace, name), document, FIELD_MANAGER, force=force, dry_run=dry_run
            )

    def delete(self, namespace: str, name: str) -> None:
        """Delete a TrainingJob, and with it all that belongs to it.

        Raises JobUnknown, ClusterRefused, ClusterUnavailable.
        """
        uid = self.job(namespace, name)["metadata"]["uid"]
        try:
            with self._told(f"delete the job {name}"):
                self._api.delete(TRAINING_JOBS.path(namespace, name), uid)
        except ClusterRefused as error:
            # Gone since, or a second try after an answer that was lost.
            if error.status != 404:
                raise

    def follow_job(self, namespace: str, name: str) -> Iterator[Object]:
        """A job as it is, and as it is after each change.

        Raises JobUnknown where there is none, or no more; ClusterRefused, ClusterUnavailable.
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
        """A job's pods of one role, each as it is and after each change; those that go are passed over."""
        with self._told("watch pods"):
            for what, found in self._api.changes(
                PODS.path(namespace), {"labelSelector": selector(job, role)}
            ):
                if what != "DELETED":
                    yield from sorted(found, key=_created)

    def log(
        self, namespace: str, pod: str, container: str, *, follow: bool = False, **options: Any
    ) -> Iterator[str]:
        """A container's log, line by line; with `follow` until the container ends.

        `options`: since_seconds, tail_lines, previous, timestamps. Raises ClusterRefused, ClusterUnavailable: also
        where a followed log has been silent for long.
        """
        query = {"container": container} | ({"follow": "true"} if follow else {})
        query |= {_LOG_OPTIONS[name]: str(value).lower() for name, value in options.items()}
        with self._told(f"read the log of {pod}"):
            yield from self._api.lines(PODS.path(namespace, pod, "log"), query, follow=follow)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Refusals, in words for people who wanted to do `what`. Raises as `told` says."""
        try:
            yield
        except ClusterError as error:
            raise told(what, self.server, error) from error


def _created(pod: Object) -> str:
    return str(pod["metadata"]["creationTimestamp"])
