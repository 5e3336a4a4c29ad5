"""`sapflow.Client`: what the commands submit, status and logs do, from a script or a notebook."""

import os
import queue
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from sapflow.client import cluster, cluster_job, job_logs, submission
from sapflow.client.cluster import Cluster, Object
from sapflow.client.cluster_errors import ClusterRefused
from sapflow.client.log_pods import container_of, started
from sapflow.client.training_job import TrainingJob
from sapflow.client.values import Progress
from sapflow.errors import JobFailed

Role = Literal["driver", "worker", "merger"]


@dataclass(frozen=True, slots=True)
class ClusterJob:
    """A job of a cluster, as it was when it was asked for."""

    name: str
    namespace: str
    uid: str
    state: str
    """Succeeded, Failed, or why it is neither yet: Pending, Queued, Running, Suspended …"""
    reason: str
    message: str
    progress: Progress | None
    """None before its driver has told of it."""
    uri: str | None
    """Of the model, once there is one."""
    sha256: str | None
    """Of that file: the same as of the same job in a local run with the same plan."""
    details: Mapping[str, Any] = field(repr=False)
    """All that `sapflow status --json` prints of it."""

    @property
    def finished(self) -> bool:
        """Whether it has succeeded or failed."""
        return self.state in ("Succeeded", "Failed")

    @classmethod
    def of(cls, job: Object, details: Mapping[str, Any]) -> "ClusterJob":
        """From what the API server and `cluster_job.describe` say."""
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
    """Jobs in a Kubernetes cluster that Sapflow is installed in, by the user's kubeconfig.

    Every method may raise ClusterRefused (sapflow.client.cluster_errors) and ClusterUnavailable (sapflow.kube.errors),
    which say what to do.
    """

    def __init__(
        self, namespace: str | None = None, *, context: str | None = None, kubeconfig: str | None = None
    ) -> None:
        """`namespace` and `context` left out are those of the kubeconfig; that is KUBECONFIG, else ~/.kube/config, else
        the pod's. Needs the extra `cluster`: pip install 'sapflow[cluster]'. Raises ClientMissing, NoCluster.
        """
        self._asked = namespace
        self._cluster: Cluster = cluster.connect(
            os.environ, namespace=namespace, context=context, config=kubeconfig
        )

    @property
    def namespace(self) -> str:
        """Where jobs are looked for."""
        return self._cluster.namespace

    def submit(self, job: TrainingJob, *, dry_run: bool = False, force_conflicts: bool = False) -> ClusterJob:
        """Hand a job to the cluster, as `kubectl apply --server-side` would: it goes on there whatever becomes of this
        program. Submitted again, it changes what may be changed.

        `dry_run`: the API server checks it, and nothing is changed. `force_conflicts`: take over fields that another
        tool has set. Raises SpecError: what a cluster cannot run, samples in memory for one, or refuses.
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
        return ClusterJob.of(found, submission.look(self._cluster, found))

    def list(self, *, all_namespaces: bool = False) -> "list[ClusterJob]":
        """The jobs of the namespace, or of all."""
        return [_described(each) for each in self._cluster.jobs(None if all_namespaces else self.namespace)]

    def follow(self, name: str) -> Iterator[ClusterJob]:
        """The job as it is, and after each change, until it has finished. Raises JobUnknown where it is deleted."""
        for found in self._cluster.follow_job(self.namespace, name):
            yield _described(found)
            if cluster_job.finished(found):
                return

    def wait(self, name: str, *, timeout: float | None = None) -> ClusterJob:
        """The job, once it has succeeded.

        Raises JobFailed where it fails; TimeoutError after so many seconds, JobUnknown where it is deleted.
        Whatever ends the waiting, Ctrl-C too, the job goes on in the cluster.
        """
        last: ClusterJob | None = None
        for each in self.follow(name) if timeout is None else self._in_time(name, timeout):
            last = each
        assert last is not None, "a job is followed until it has finished"
        if last.state == "Failed":
            version = -1 if last.progress is None else last.progress.step
            raise JobFailed(f"{name} has failed: {last.message}", reason=last.reason, version=version)
        return last

    def logs(
        self, name: str, *, role: Role = "driver", follow: bool = False, tail: int | None = None
    ) -> Iterator[str]:
        """The lines that a job's driver writes, or with `role` its functions, as they were written: one JSON object an
        event. Those of several pods come one pod after the other, with `follow` as they are written.

        `follow`: until the job has finished. `tail`: only so many of each pod, the newest. Functions' logs go with
        their pods. Raises JobUnknown.
        """
        job = self._cluster.job(self.namespace, name)
        query = {} if tail is None else {"tail_lines": tail}
        if follow and not cluster_job.finished(job):
            for line in job_logs.follow(self._cluster, self.namespace, name, role, query):
                yield line.text
            return
        for pod in self._cluster.pods(self.namespace, name, role):
            if started(pod):
                yield from self._log(pod, query)

    def delete(self, name: str) -> None:
        """Delete a job: at work it ends, and what stays in the store is as spec.storage.deletionPolicy says.

        Raises JobUnknown.
        """
        self._cluster.delete(self.namespace, name)

    def _log(self, pod: Object, query: Mapping[str, Any]) -> Iterator[str]:
        try:
            yield from self._cluster.log(self.namespace, pod["metadata"]["name"], container_of(pod), **query)
        except ClusterRefused as error:
            # The pod may have gone since it was listed.
            if error.status not in (400, 404):
                raise

    def _in_time(self, name: str, timeout: float) -> Iterator[ClusterJob]:
        """`follow`, no longer than so many seconds: a thread listens, and ends with the first word after that."""
        heard: queue.SimpleQueue[ClusterJob | BaseException | None] = queue.SimpleQueue()
        over = threading.Event()

        def listen() -> None:
            try:
                for each in self.follow(name):
                    heard.put(each)
                    if over.is_set():
                        return
                heard.put(None)
            except BaseException as error:  # noqa: BLE001  # raised where somebody waits for it
                heard.put(error)

        threading.Thread(target=listen, daemon=True).start()
        deadline = time.monotonic() + timeout
        try:
            while True:
                try:
                    found = heard.get(timeout=max(0.0, deadline - time.monotonic()))
                except queue.Empty:
                    raise TimeoutError(f"{name} has not finished within {timeout:g} s; it goes on") from None
                if found is None:
                    return
                if isinstance(found, BaseException):
                    raise found
                yield found
        finally:
            over.set()


def _described(job: Object) -> ClusterJob:
    """What the job itself says, without its pods and events."""
    return ClusterJob.of(job, cluster_job.describe(job, None, None, datetime.now(UTC)))
