"""The Kubernetes client for users' commands: the only module that imports the `kubernetes` package, when it is needed.

Reads and applies are repeated if that may help; a watch that was cut off is resumed. Objects are plain dicts.
"""

import argparse
import json
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from sapflow.client import cluster_job
from sapflow.client.cluster_errors import (
    ClientMissing,
    ClusterRefused,
    ClusterUnavailable,
    JobUnknown,
    NoCluster,
    NotInstalled,
    rejected,
)
from sapflow.spec.labels import GROUP, PLURAL, VERSION, selector

Object = dict[str, Any]
Change = tuple[str, list[Object]]
"""A kind of change (LISTED, ADDED, MODIFIED, DELETED) and its objects; LISTED has all objects that exist now."""

FIELD_MANAGER = "sapflow-cli"
SIDECAR = "queue-proxy"
"""The name of Knative's own container in every function's pod."""

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 20.0
_WATCH_SECONDS = 60
_SILENT_SECONDS = 75.0
"""After this silence a followed log is requested again. A watch ends by itself earlier."""
_TRIES = 3
_WATCH_TRIES = 10
_PAUSE, _LONGEST_PAUSE = 0.3, 10.0
_AGAIN = {429, 502, 503, 504}
_MALFORMED = (OSError, ValueError, TypeError, AttributeError, KeyError)
"""Exceptions from reading a file that is YAML but no kubeconfig."""
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """Add the options that select a cluster and a namespace."""
    parser.add_argument(
        "-n", "--namespace", metavar="NAME", help="the job's namespace (default: the context's)"
    )
    parser.add_argument("--context", metavar="NAME", help="context of the kubeconfig (default: its current)")
    parser.add_argument(
        "--kubeconfig",
        metavar="FILE",
        help="kubeconfig (default: KUBECONFIG, else ~/.kube/config, else the pod's)",
    )


def cluster_named(given: argparse.Namespace) -> bool:
    """Whether the command line names a cluster."""
    return any((given.namespace, given.context, given.kubeconfig))


def has_cluster(environ: Mapping[str, str]) -> bool:
    """Whether there is a kubeconfig or a service account for a cluster."""
    return _exists(_kubeconfig(None, environ)) or _in_pod(environ)


def connect(given: argparse.Namespace, environ: Mapping[str, str]) -> "Cluster":
    """The cluster that the command line and the kubeconfig name. No request is sent yet.

    Raises ClientMissing, NoCluster.
    """
    try:
        from kubernetes import client
        from kubernetes import config as kubeconfig
    except ImportError as error:
        raise ClientMissing(
            f"clusters are reached through the `kubernetes` package, which cannot be imported ({error}); "
            "install it: pip install 'sapflow[cluster]'"
        ) from error
    config: Any = kubeconfig  # its functions are not annotated
    settings = client.Configuration()
    path = _kubeconfig(given.kubeconfig, environ)
    there = _exists(path)
    in_pod = not there and given.kubeconfig is None and given.context is None and _in_pod(environ)
    if not there and not in_pod:
        raise NoCluster(f"there is no kubeconfig at {path}; set KUBECONFIG or give --kubeconfig FILE")
    try:
        if in_pod:
            config.load_incluster_config(client_configuration=settings)
            namespace = (_ACCOUNT / "namespace").read_text(encoding="utf-8").strip()
        else:
            config.load_kube_config(path, given.context, client_configuration=settings)
            namespace = _namespace_of(config, path, given.context)
    except (config.ConfigException, yaml.YAMLError, *_MALFORMED) as error:
        raise NoCluster(f"the kubeconfig {path} cannot be used: {error}") from error
    # Repetitions are made here instead, and only if they are safe.
    settings.retries = False
    return Cluster(client, settings, given.namespace or namespace)


def _kubeconfig(asked: str | None, environ: Mapping[str, str]) -> str:
    home = environ.get("HOME", "~")
    return asked or environ.get("KUBECONFIG") or f"{home}/.kube/config"


def _exists(kubeconfig: str) -> bool:
    """Whether one of the files exists; KUBECONFIG may name several."""
    return any(Path(each).expanduser().is_file() for each in kubeconfig.split(os.pathsep) if each)


def _in_pod(environ: Mapping[str, str]) -> bool:
    return "KUBERNETES_SERVICE_HOST" in environ and (_ACCOUNT / "token").is_file()


def _namespace_of(config: Any, path: str, context: str | None) -> str:
    contexts, current = config.list_kube_config_contexts(path)
    chosen = next((each for each in contexts if each["name"] == context), current)
    return str(chosen["context"].get("namespace") or "default")


class Cluster:
    """An API server, accessed as a user. `namespace` is used where none is named."""

    def __init__(self, client: ModuleType, settings: Any, namespace: str) -> None:
        import urllib3  # comes with the kubernetes package

        self.namespace = namespace
        self.server = str(settings.host)
        api = client.ApiClient(settings)
        self._core, self._custom = client.CoreV1Api(api), client.CustomObjectsApi(api)
        self._refusal: type[Exception] = client.ApiException
        self._no_answer: type[Exception] = urllib3.exceptions.HTTPError

    def job(self, namespace: str, name: str) -> Object:
        """A TrainingJob. Raises JobUnknown, ClusterRefused, ClusterUnavailable."""
        call = partial(self._custom.get_namespaced_custom_object, GROUP, VERSION, namespace, PLURAL, name)
        try:
            return self._read(f"read the job {name}", call)
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
        return list(self._read("list jobs", self._jobs_call(namespace))["items"])

    def pods(self, namespace: str, job: str, role: str | None = None) -> list[Object]:
        """A job's pods, oldest first. Raises ClusterRefused, ClusterUnavailable."""
        found = self._read("list pods", self._pods_call(namespace), label_selector=selector(job, role))
        return sorted(found["items"], key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def pod(self, namespace: str, name: str) -> Object | None:
        """A pod, or None if there is none. Raises ClusterRefused, ClusterUnavailable."""
        try:
            return self._read(
                f"read the pod {name}", partial(self._core.read_namespaced_pod, name, namespace)
            )
        except ClusterRefused as error:
            if error.status == 404:
                return None
            raise

    def events(self, namespace: str, uid: str) -> list[Object]:
        """The events of an object, oldest first. Raises ClusterRefused, ClusterUnavailable."""
        call = partial(self._core.list_namespaced_event, namespace)
        found = self._read("list events", call, field_selector=f"involvedObject.uid={uid}")
        return sorted(found["items"], key=cluster_job.event_time)

    def apply(
        self, namespace: str, document: Mapping[str, Any], *, dry_run: bool = False, force: bool = False
    ) -> tuple[bool, Object]:
        """Apply a job server-side as its user wrote it. Returns whether it is new, and the job.

        Raises SpecError if the API server rejects fields, ClusterRefused, ClusterUnavailable.
        """
        name = document["metadata"]["name"]
        call = partial(
            self._custom.patch_namespaced_custom_object,
            GROUP,
            VERSION,
            namespace,
            PLURAL,
            name,
            dict(document),
        )
        query: dict[str, Any] = {
            "field_manager": FIELD_MANAGER,
            "_content_type": "application/apply-patch+yaml",
        }
        if dry_run:
            query["dry_run"] = "All"
        if force:
            query["force"] = True
        response = self._ask(f"apply the job {name}", call, **query)
        return response.status == 201, dict(json.loads(response.data))

    def follow_job(self, namespace: str, name: str) -> Iterator[Object]:
        """Yields the job as it is now, and after each change.

        Raises JobUnknown if there is no such job (any more), ClusterRefused, ClusterUnavailable.
        """
        uid = self.job(namespace, name)["metadata"]["uid"]
        selected = {"field_selector": f"metadata.name={name}"}
        for what, found in self._changes("watch the job", self._jobs_call(namespace), **selected):
            if what == "DELETED" or [each["metadata"]["uid"] for each in found] != [uid]:
                raise JobUnknown(f"the job {name} in namespace {namespace} was deleted")
            yield found[0]

    def follow_pods(self, namespace: str, job: str, role: str) -> Iterator[Object]:
        """Yields a job's pods of a role as they are now, and each after it changes. Deleted pods are ignored."""
        selected = {"label_selector": selector(job, role)}
        for what, found in self._changes("watch pods", self._pods_call(namespace), **selected):
            if what != "DELETED":
                yield from sorted(found, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def log(
        self, namespace: str, pod: str, container: str, *, follow: bool = False, **query: Any
    ) -> Iterator[str]:
        """The lines of a container's log; with `follow` until the container ends.

        `query` may have since_seconds, tail_lines, previous and timestamps. Raises ClusterRefused, and
        ClusterUnavailable, also if a followed log has been silent for long.
        """
        call = partial(self._core.read_namespaced_pod_log, pod, namespace, container=container, follow=follow)
        seconds = _SILENT_SECONDS if follow else _ANSWER_SECONDS
        response = self._ask(f"read the log of {pod}", call, seconds=seconds, **query)
        yield from self._lines(response)

    def _jobs_call(self, namespace: str | None) -> Callable[..., Any]:
        if namespace is None:
            return partial(self._custom.list_cluster_custom_object, GROUP, VERSION, PLURAL)
        return partial(self._custom.list_namespaced_custom_object, GROUP, VERSION, namespace, PLURAL)

    def _pods_call(self, namespace: str) -> Callable[..., Any]:
        return partial(self._core.list_namespaced_pod, namespace)

    def _changes(self, what: str, call: Callable[..., Any], **query: Any) -> Iterator[Change]:
        """Yields a list's objects, then every change to it, without end. After an interruption it resumes."""
        version: str | None = None
        failures = 0
        while True:
            try:
                if version is None:
                    found = self._read(what, call, **query)
                    version = str(found["metadata"]["resourceVersion"])
                    yield "LISTED", list(found["items"])
                for kind, changed in self._watch(what, call, version, **query):
                    failures = 0
                    if kind == "ERROR":
                        # Usually 410: the server no longer knows this resource version. Everything is listed again.
                        version = None
                        break
                    version = str(changed["metadata"]["resourceVersion"])
                    if kind != "BOOKMARK":
                        yield kind, [changed]
                failures = 0 if version is not None else failures + 1
            except ClusterUnavailable:
                failures += 1
                if failures > _WATCH_TRIES:
                    raise
            except ClusterRefused as error:
                if error.status != 410:
                    raise
                version, failures = None, failures + 1
            _pause(failures)

    def _watch(
        self, what: str, call: Callable[..., Any], version: str, **query: Any
    ) -> Iterator[tuple[str, Object]]:
        response = self._ask(
            what,
            call,
            seconds=_SILENT_SECONDS,
            watch=True,
            resource_version=version,
            allow_watch_bookmarks=True,
            timeout_seconds=_WATCH_SECONDS,
            **query,
        )
        for line in self._lines(response):
            if line.strip():
                change = json.loads(line)
                yield change["type"], change["object"]

    def _read(self, what: str, call: Callable[..., Any], **query: Any) -> Object:
        return dict(json.loads(self._ask(what, call, **query).data))

    def _ask(
        self, what: str, call: Callable[..., Any], seconds: float = _ANSWER_SECONDS, **query: Any
    ) -> Any:
        """Make a request, and repeat it a few times if that may help; all requests here are safe to repeat."""
        for attempt in range(_TRIES):
            try:
                return call(_preload_content=False, _request_timeout=(_CONNECT_SECONDS, seconds), **query)
            except self._refusal as error:
                said = rejected(
                    what, self.server, getattr(error, "status", 0) or 0, getattr(error, "body", None)
                )
                if attempt == _TRIES - 1 or getattr(error, "status", 0) not in _AGAIN:
                    raise said from error
            except self._no_answer as error:
                if attempt == _TRIES - 1:
                    raise self._unavailable(error) from error
            _pause(attempt)
        raise AssertionError("unreachable")

    def _lines(self, response: Any) -> Iterator[str]:
        """The lines of an answer as they arrive."""
        rest = b""
        try:
            for part in response.stream(decode_content=True):
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    yield line.decode("utf-8", errors="replace")
        except self._no_answer as error:
            raise self._unavailable(error) from error
        finally:
            # The connection is not reused, because unread bytes would be taken for the next answer.
            response.close()
        if rest:
            yield rest.decode("utf-8", errors="replace")

    def _unavailable(self, error: Exception) -> ClusterUnavailable:
        return ClusterUnavailable(
            f"the API server at {self.server} does not answer: {error}; is the cluster up, and does the "
            "kubeconfig name the right one (--context)?"
        )


def _pause(failures: int) -> None:
    time.sleep(min(_LONGEST_PAUSE, _PAUSE * 2**failures) * random.uniform(0.5, 1.0))
