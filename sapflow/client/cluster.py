"""A cluster for users' commands and programs: jobs, searches, their pods, events and logs. Objects are plain dicts.

Reads and applies are repeated if that may help, and a watch that was cut off is resumed.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sapflow.client import cluster_job, kubeconfig
from sapflow.client.cluster_errors import ClusterRefused, JobUnknown, NotInstalled, told
from sapflow.client.cluster_kinds import (
    API_VERSION,
    MODEL_SERVICES,
    TRAINING_JOBS,
    TUNING_JOBS,
    JobKind,
    kind_named,
    kind_of,
)
from sapflow.kube.errors import ClusterError
from sapflow.kube.paths import Kind
from sapflow.spec.labels import TRIAL_PLURAL, TUNING, of_kind, selector

if TYPE_CHECKING:
    from sapflow.kube.blocking import BlockingApiClient

Object = dict[str, Any]

FIELD_MANAGER = "sapflow-cli"
SIDECAR = "queue-proxy"
"""The name of Knative's own container in every function's pod."""
TRIALS = Kind(API_VERSION, TRIAL_PLURAL)
PODS = Kind("v1", "pods")
EVENTS = Kind("v1", "events")
SECRETS = Kind("v1", "secrets")

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

    def find(self, namespace: str, name: str, kind: JobKind | None = None) -> Object:
        """The job of this name, or else the search; `tune/NAME` and `tj/NAME` are the one and the other alone.

        Raises JobUnknown, ClusterRefused, ClusterUnavailable.
        """
        if kind is None:
            kind, name = kind_named(name)
        if kind is not None:
            return self.job(namespace, name, kind)
        try:
            return self.job(namespace, name)
        except JobUnknown as unknown:
            try:
                return self.job(namespace, name, TUNING_JOBS)
            except (JobUnknown, NotInstalled):
                raise unknown from None

    def job(self, namespace: str, name: str, kind: JobKind = TRAINING_JOBS) -> Object:
        """A resource of this kind. Raises JobUnknown, ClusterRefused, ClusterUnavailable."""
        try:
            with self._told(f"read the {kind.word} {name}"):
                return self._api.read(kind.path.path(namespace, name))
        except NotInstalled:
            raise
        except ClusterRefused as error:
            if error.status == 404:
                lists = "kubectl get ms" if kind is MODEL_SERVICES else "sapflow status"
                raise JobUnknown(
                    f"there is no {kind.word} {name!r} in namespace {namespace} of {self.server}; "
                    f"`{lists} -n {namespace}` lists those there are, `{lists} -A` all"
                ) from error
            raise

    def jobs(self, namespace: str | None, kind: JobKind = TRAINING_JOBS) -> list[Object]:
        """The resources of this kind in a namespace, or in all if it is None. Raises ClusterRefused,
        ClusterUnavailable."""
        with self._told("list jobs" if kind is TRAINING_JOBS else "list searches"):
            return [{"kind": kind.kind, **each} for each in self._api.objects(kind.path.path(namespace))]

    def trials(self, namespace: str, search: str) -> list[Object]:
        """The objects of a search's trials, by number. Raises ClusterRefused, ClusterUnavailable."""
        with self._told("list trials"):
            found = self._api.objects(TRIALS.path(namespace), {"labelSelector": f"{TUNING}={search}"})
        return sorted(found, key=lambda each: int(each["spec"]["number"]))

    def pods(self, job: Object, role: str | None = None) -> list[Object]:
        """The pods of a job or a search, oldest first. Raises ClusterRefused, ClusterUnavailable."""
        with self._told("list pods"):
            found = self._api.objects(PODS.path(job["metadata"]["namespace"]), _pods_of(job, role))
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

    def secret(self, namespace: str, name: str) -> dict[str, str]:
        """The data of a Secret, in base64. Raises ClusterRefused, ClusterUnavailable."""
        with self._told(f"read the Secret {name}"):
            return dict(self._api.read(SECRETS.path(namespace, name)).get("data") or {})

    def events(self, namespace: str, uid: str) -> list[Object]:
        """The events of an object, oldest first. Raises ClusterRefused, ClusterUnavailable."""
        with self._told("list events"):
            found = self._api.objects(EVENTS.path(namespace), {"fieldSelector": f"involvedObject.uid={uid}"})
        return sorted(found, key=cluster_job.event_time)

    def apply(
        self, namespace: str, document: Mapping[str, Any], *, dry_run: bool = False, force: bool = False
    ) -> tuple[bool, Object]:
        """Apply a job or a search server-side as its user wrote it. Returns whether it is new, and the job.

        Raises SpecError if the API server rejects fields, ClusterRefused, ClusterUnavailable.
        """
        name, kind = document["metadata"]["name"], kind_of(document)
        with self._told(f"apply the {kind.word} {name}"):
            new, job = self._api.apply(
                kind.path.path(namespace, name), document, FIELD_MANAGER, force=force, dry_run=dry_run
            )
        return new, job

    def change(self, namespace: str, name: str, kind: JobKind, fields: Mapping[str, Any]) -> Object:
        """Change fields of the spec of a job or a search, and return it.

        Raises SpecError if the API server rejects them, JobUnknown, ClusterRefused, ClusterUnavailable.
        """
        self.job(namespace, name, kind)
        with self._told(f"change the {kind.word} {name}"):
            return self._api.patch(kind.path.path(namespace, name), {"spec": dict(fields)})

    def delete(self, namespace: str, name: str, kind: JobKind = TRAINING_JOBS) -> None:
        """Delete a job or a search and everything that belongs to it.

        Raises JobUnknown, ClusterRefused, ClusterUnavailable.
        """
        uid = self.job(namespace, name, kind)["metadata"]["uid"]
        try:
            with self._told(f"delete the {kind.word} {name}"):
                self._api.delete(kind.path.path(namespace, name), uid)
        except ClusterRefused as error:
            # It is gone already, perhaps after an earlier try whose answer was lost.
            if error.status != 404:
                raise

    def delete_trial(self, namespace: str, search: str, number: int) -> None:
        """Delete the object of a search's trial, which stops the trial.

        Raises JobUnknown if it has none, ClusterRefused, ClusterUnavailable.
        """
        name = f"{search}-{number}"
        try:
            with self._told(f"delete the trial {name}"):
                self._api.delete(TRIALS.path(namespace, name))
        except ClusterRefused as error:
            if error.status != 404:
                raise
            raise JobUnknown(
                f"the search {search} in namespace {namespace} shows no trial {number}: a trial below the best and the "
                "last ones has no object, and takes no function"
            ) from error

    def follow_job(self, job: Object) -> Iterator[Object]:
        """Yields the job or search as it is now, and after each change.

        Raises JobUnknown if there is no such job (any more), ClusterRefused, ClusterUnavailable.
        """
        kind = kind_of(job)
        namespace, name, uid = (job["metadata"][field] for field in ("namespace", "name", "uid"))
        with self._told(f"watch the {kind.word}"):
            for what, found in self._api.changes(
                kind.path.path(namespace), {"fieldSelector": f"metadata.name={name}"}
            ):
                if what == "DELETED" or [each["metadata"]["uid"] for each in found] != [uid]:
                    raise JobUnknown(f"the {kind.word} {name} in namespace {namespace} was deleted")
                yield {"kind": kind.kind, **found[0]}

    def follow_pods(self, job: Object, role: str) -> Iterator[Object]:
        """Yields a job's pods of a role as they are now, and each after it changes. Deleted pods are ignored."""
        with self._told("watch pods"):
            for what, found in self._api.changes(
                PODS.path(job["metadata"]["namespace"]), _pods_of(job, role)
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


def _pods_of(job: Object, role: str | None) -> dict[str, str]:
    """A query for the pods of a job or a search, of a role if one is named."""
    return {"labelSelector": f"{selector(job['metadata']['name'], role)},{of_kind(kind_of(job).kind)}"}


def _created(pod: Object) -> str:
    return str(pod["metadata"]["creationTimestamp"])
