"""`sapflow.Client`: the commands submit, status and logs, and searches, for scripts and notebooks."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sapflow.client import (
    cluster,
    cluster_job,
    cluster_service,
    cluster_store,
    pod_logs,
    submission,
    versions,
)
from sapflow.client import diff as differences
from sapflow.client import fork as forks
from sapflow.client import verify as verifying
from sapflow.client.background import run_apart
from sapflow.client.cluster import Cluster, Object
from sapflow.client.cluster_kinds import TUNING_JOBS
from sapflow.client.cluster_tuning import ClusterSearch, SearchState
from sapflow.client.diff import Difference
from sapflow.client.in_time import in_time
from sapflow.client.pod_logs import Role
from sapflow.client.search_fields import Direction, Space, document_of
from sapflow.client.served import Served
from sapflow.client.session import Session
from sapflow.client.training_job import TrainingJob
from sapflow.client.values import Progress
from sapflow.client.verify import VerifiedJob
from sapflow.errors import JobFailed
from sapflow.spec.trial_names import trial_named

if TYPE_CHECKING:
    from sapflow.client.tracking import Tracked
    from sapflow.monitoring.trackers.registry import Name

TRIALS_AT_ONCE = 4
"""Trials for which a search has workers whose user does not say how many."""


@dataclass(frozen=True, slots=True)
class ClusterJob:
    """The state of a cluster's job at the time of the request."""

    name: str
    namespace: str
    uid: str
    state: str
    """Succeeded, Failed, or the reason why it is neither yet: Pending, Queued, Running, Suspended …"""
    reason: str
    message: str
    progress: Progress | None
    """None before the driver's first report."""
    uri: str | None
    """The URI of the model, once there is one."""
    sha256: str | None
    """The SHA-256 of the model's file. A local run of the same job with the same plan has the same."""
    details: Mapping[str, Any] = field(repr=False)
    """The full description, as `sapflow status --json` prints it."""

    @property
    def finished(self) -> bool:
        """Whether it has succeeded or failed."""
        return self.state in ("Succeeded", "Failed")

    @classmethod
    def of(cls, job: Object, details: Mapping[str, Any]) -> "ClusterJob":
        """From the API server's object and the description of `cluster_job.describe`."""
        event, result = cluster_job.progress_event(job), details.get("result", {})
        return cls(
            name=details["job"],
            namespace=details["namespace"],
            uid=details["uid"],
            state=details["state"],
            reason=details["reason"],
            message=details["message"],
            progress=None if event is None else Progress.of(event),
            uri=result.get("uri"),
            sha256=result.get("sha256"),
            details=details,
        )


class Client:
    """A client for jobs in a Kubernetes cluster with Sapflow. It uses the user's kubeconfig.

    Every method may raise ClusterRefused (sapflow.client.cluster_errors) and ClusterUnavailable (sapflow.kube.errors),
    whose messages say what to do.
    """

    def __init__(
        self, namespace: str | None = None, *, context: str | None = None, kubeconfig: str | None = None
    ) -> None:
        """`namespace` and `context` default to those of the kubeconfig. The kubeconfig is KUBECONFIG, or else
        ~/.kube/config, or else the pod's service account. This needs the extra `cluster`:
        pip install 'sapflow[cluster]'. Raises ClientMissing, NoCluster.
        """
        self._asked = namespace
        self._cluster: Cluster = cluster.connect(
            os.environ, namespace=namespace, context=context, config=kubeconfig
        )

    @property
    def namespace(self) -> str:
        """The namespace of jobs."""
        return self._cluster.namespace

    def submit(self, job: TrainingJob, *, dry_run: bool = False, force_conflicts: bool = False) -> ClusterJob:
        """Apply a job to the cluster, like `kubectl apply --server-side`. It runs there independently of this program.
        To submit it again changes the fields that may be changed.

        With `dry_run` the API server checks the job, and nothing is changed. With `force_conflicts` fields are taken
        over that another tool has set. Raises SpecError if the cluster refuses the job or cannot run it, for example
        because its samples are in memory.
        """
        document = submission.checked(job.for_cluster())
        namespace = submission.namespace_of(document, self._asked, self._cluster)
        _, applied = submission.apply(
            self._cluster, namespace, document, dry_run=dry_run, force=force_conflicts
        )
        return _described(applied)

    def get(self, name: str) -> ClusterJob:
        """A job, with its pods and warnings in `details`. Raises JobUnknown."""
        found = self._cluster.job(self.namespace, name)
        return ClusterJob.of(found, submission.describe_now(self._cluster, found))

    def list(self, *, all_namespaces: bool = False) -> "list[ClusterJob]":
        """The jobs of the namespace, or of all."""
        return [_described(each) for each in self._cluster.jobs(None if all_namespaces else self.namespace)]

    def follow(self, name: str) -> Iterator[ClusterJob]:
        """Yields the job now and after each change, until it has finished. Raises JobUnknown if it is deleted."""
        for found in self._cluster.follow_job(self._cluster.job(self.namespace, name)):
            yield _described(found)
            if cluster_job.finished(found):
                return

    def wait(self, name: str, *, timeout: float | None = None) -> ClusterJob:
        """Wait until the job has succeeded, and return it.

        Raises JobFailed if it fails, TimeoutError after `timeout` seconds, JobUnknown if it is deleted. The job
        continues in the cluster whatever ends the waiting, also after Ctrl-C.
        """
        last: ClusterJob | None = None
        for each in (
            self.follow(name) if timeout is None else in_time(lambda: self.follow(name), timeout, name)
        ):
            last = each
        assert last is not None, "a job is followed until it has finished"
        if last.state == "Failed":
            version = -1 if last.progress is None else last.progress.step
            raise JobFailed(f"{name} has failed: {last.message}", reason=last.reason, version=version)
        return last

    def logs(
        self, name: str, *, role: Role = "driver", follow: bool = False, tail: int | None = None
    ) -> Iterator[str]:
        """The lines of the log of a job's driver, or with `role` of its functions. Each line is a JSON object.

        The lines of several pods come pod by pod, or with `follow` in the order in which they are written, until the
        job has finished. With `tail` only the newest `tail` lines of each pod are returned. The logs of functions
        disappear with their pods. Raises JobUnknown.
        """
        job = self._cluster.job(self.namespace, name)
        yield from pod_logs.lines(self._cluster, job, role, follow=follow, tail=tail)

    def export(
        self, name: str, path: str | Path | None = None, *, store: str, version: int | None = None
    ) -> Path:
        """Write the model of a job into a safetensors file, and return its path: the result, or what a suspended,
        stopped, failed or running job has come to; with `version` that one, if it is kept (spec.checkpoint). A trial
        of a search is named SEARCH/trials/7, the best one SEARCH/trials/best.

        `store` is the job's store as it is reached from here, such as s3://BUCKET?endpoint=http://localhost:9000 after
        kubectl port-forward, with credentials in SAPFLOW_S3_ACCESS_KEY and SAPFLOW_S3_SECRET_KEY. The default path is
        UID@VERSION.safetensors in the current folder. Raises JobUnknown, DataError if there is no such version,
        StoreError.
        """
        with self._opened(name, store) as (_, opened):
            return versions.export(opened, None if path is None else Path(path), version).path

    def fork(
        self,
        job: str,
        changes: Mapping[str, object] | None = None,
        *,
        store: str,
        version: int | None = None,
        name: str | None = None,
    ) -> TrainingJob:
        """A job that begins at a version of another one of the namespace, to be submitted there: by default at its
        result, or else at its last version. `job` may be a trial, SEARCH/trials/7 or SEARCH/trials/best.

        `changes` are values by field, as `{"spec.optimizer.learningRate": 0.01}`; None takes a field out. `name` is
        that of the new job, by default NAME-vVERSION. `store` is as for `export`. Raises JobUnknown, SpecError for a
        version that is not kept and for what a fork may not change, DataError if the job has no version yet,
        StoreError.
        """
        with self._opened(job, store) as (resource, opened):
            spec = forks.cluster_spec(resource, opened)
            document = forks.document(opened, version, changes or {}, name=name, spec=spec)
        return TrainingJob.from_document(document)

    def verify(
        self,
        job: str,
        versions: str | int | None = None,
        *,
        store: str,
        entrypoint: str | Iterable[str] | None = None,
        max_instances: int | None = None,
    ) -> VerifiedJob:
        """Compute versions of a job or a trial again on this machine, as `sapflow.verify` explains; `store` is as for
        `export`. The cluster's images may have other libraries than this machine: `warnings` and `remedy` tell.

        Raises JobUnknown, DataError if there is no such version, JobFailed, StoreError.
        """
        with self._opened(job, store) as (_, opened):
            return verifying.by_program(opened, versions, entrypoint, max_instances)

    def diff(self, first: str, second: str, *, store: str) -> Difference:
        """Where two jobs or trials of the namespace part, and why, by what their commits recorded; `store` is as for
        `export`. Raises JobUnknown, DataError if one has no version yet, StoreError."""
        with self._opened(first, store) as (_, one), self._opened(second, store) as (_, other):
            return run_apart(differences.diff(one, other))

    def export_to(
        self, name: str, to: "Name", place: str | Path, *, store: str, version: int | None = None
    ) -> "Tracked":
        """Write a job, a search or a trial for an experiment tracker, also while it runs, as `sapflow.export_to`
        explains; `store` is as for `export`. Raises JobUnknown, TrackerMissing, TrackerFailed, DataError, StoreError.
        """
        from sapflow.client import tracking

        named = trial_named(name)
        if named is None:
            uid = self._cluster.find(self.namespace, name)["metadata"]["uid"]
        else:
            found = self._cluster.job(self.namespace, named.search, TUNING_JOBS)
            uid = str(replace(named, search=found["metadata"]["uid"]))
        with tracking.find(uid, os.environ, store) as opened:
            return run_apart(tracking.write(opened, to, place, version))

    def delete(self, name: str) -> None:
        """Delete a job. A running job ends, and spec.storage.deletionPolicy determines what stays in the store.

        Raises JobUnknown.
        """
        self._cluster.delete(self.namespace, name)

    def tune(
        self,
        job: TrainingJob,
        space: Space,
        *,
        metric: str = "loss",
        direction: Direction | None = None,
        goal: float | None = None,
        trials: int = 20,
        parallel_trials: int | None = None,
        max_workers: int | None = None,
        search: str | Mapping[str, Any] = "TPE",
        prune: str | Mapping[str, Any] = "None",
        initial: Sequence[Mapping[str, Any]] | None = None,
        dry_run: bool = False,
        force_conflicts: bool = False,
        **spec: Any,
    ) -> ClusterSearch:
        """Submit a search for values of `space` with which the job is best; its name is the job's. It runs in the
        cluster independently of this program. To submit it again with higher limits raises them.

        The arguments are those of `sapflow.tune`; `max_workers` is by default enough for four trials at once, or for
        `parallel_trials`. `dry_run` and `force_conflicts` are as with `submit`. Raises SpecError with all problems, or
        if the cluster refuses the search.
        """
        if not isinstance(job, TrainingJob):
            raise TypeError(f"Client.tune takes a sapflow.TrainingJob, not a {type(job).__name__}")
        document = document_of(
            job.for_cluster(),
            space,
            metric=metric,
            direction=direction,
            goal=goal,
            trials=trials,
            parallel_trials=parallel_trials,
            max_workers=max_workers or (parallel_trials or TRIALS_AT_ONCE) * job.spec.workers,
            search=search,
            prune=prune,
            initial=initial,
            spec=spec,
        )
        checked = submission.checked(document)
        namespace = submission.namespace_of(checked, self._asked, self._cluster)
        submission.apply(self._cluster, namespace, checked, dry_run=dry_run, force=force_conflicts)
        return ClusterSearch(self._cluster, namespace, checked["metadata"]["name"])

    def search(self, name: str) -> ClusterSearch:
        """A search of the namespace by its name. Raises JobUnknown."""
        self._cluster.job(self.namespace, name, TUNING_JOBS)
        return ClusterSearch(self._cluster, self.namespace, name)

    def searches(self, *, all_namespaces: bool = False) -> Sequence[SearchState]:
        """The searches of the namespace, or of all."""
        found = self._cluster.jobs(None if all_namespaces else self.namespace, TUNING_JOBS)
        return [SearchState.of(each, submission.described(each)) for each in found]

    def served(self, name: str, *, gateway: str | None = None, token: str | None = None) -> Served:
        """What answers for a ModelService of the namespace, to be asked any number of times.

        It is asked at `status.url`, or where that host name is not known here, through Knative's gateway at `gateway`,
        such as http://127.0.0.1:8080 after `kubectl port-forward -n kourier-system svc/kourier 8080:80`. The bearer
        token is `token`, or else read from the service's Secret. Raises JobUnknown, DataError if nothing is served yet.
        """
        return cluster_service.served(self._cluster, self.namespace, name, gateway=gateway, token=token)

    def predict(
        self,
        name: str,
        rows: Sequence[Mapping[str, object] | Sequence[object]],
        *,
        gateway: str | None = None,
        token: str | None = None,
    ) -> Sequence[dict[str, Any]]:
        """The decisions of a ModelService on raw rows, as `Served.predict` gives them; see `served`.

        Raises JobUnknown, DataError, which names row and column, NotAnswered.
        """
        return self.served(name, gateway=gateway, token=token).predict(rows)

    @contextmanager
    def _opened(self, name: str, store: str) -> Iterator[tuple[Object, Session]]:
        """A job, or of a trial its search, and the session of the job or the trial in its store, for reading.

        Raises JobUnknown, DataError, StoreError.
        """
        named = trial_named(name)
        if named is None:
            found = self._cluster.job(self.namespace, name)
        else:
            found = self._cluster.job(self.namespace, named.search, TUNING_JOBS)
        with cluster_store.session_of(found, store, os.environ, named) as opened:
            yield found, opened


def _described(job: Object) -> ClusterJob:
    """The description of a job without its pods and events."""
    return ClusterJob.of(job, submission.described(job))
