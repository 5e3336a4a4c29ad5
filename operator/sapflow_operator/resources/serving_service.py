"""The Knative Service of a ModelService: its newest revision, and which revisions get which part of the requests.

Traffic always names revisions: with *latest* Knative would move requests by itself, and while it does some fail
(knative/serving#16649). Revisions start with one pod: with none, Knative calls one ready whose process never started
(knative/serving#8971).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sapflow.objects import keys
from sapflow_operator import names
from sapflow_operator.knative_times import START_SECONDS
from sapflow_operator.resources import metadata, pod
from sapflow_operator.service_wanted import STABLE, ServiceWanted

_SCALING = "autoscaling.knative.dev"
COMMAND = ["python3", "-m", "sapflow_functions.roles.server"]
READY_PATH = "/v2/health/ready"
_DIGITS = 8


def named(wanted: ServiceWanted) -> ServiceWanted:
    """With the name of its revision, which has a digest of all that the revision is made of."""
    bare = replace(wanted, revision="")
    return replace(wanted, revision=f"{wanted.pool}-{keys.digest([_template(bare), bare.document], _DIGITS)}")


def build(wanted: ServiceWanted, shares: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """A Service whose revisions get these parts of the requests, in percent; the first one is the one that serves."""
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": metadata.build(wanted, wanted.pool, names.SERVER),
        "spec": {
            "template": _template(wanted),
            "traffic": [
                {
                    "revisionName": revision,
                    "percent": percent,
                    "latestRevision": False,
                    **({"tag": STABLE} if place == 0 and wanted.compares and len(shares) > 1 else {}),
                }
                for place, (revision, percent) in enumerate(shares)
            ],
        },
    }


def as_standing(manifest: dict[str, Any], standing: Mapping[str, Any]) -> dict[str, Any]:
    """A Service as `build` has it, with the template of the standing one if that is of the same revision.

    Knative adds its defaults to a template only where its revision is new, and refuses one that changes with the same
    name; to change the traffic alone its template must be as it stands.
    """
    template = standing["spec"]["template"]
    if template["metadata"].get("name") != manifest["spec"]["template"]["metadata"]["name"]:
        return manifest
    # The API server writes a time of creation there, which is none.
    named = {name: value for name, value in template["metadata"].items() if value is not None}
    return {**manifest, "spec": {**manifest["spec"], "template": {**template, "metadata": named}}}


def _template(wanted: ServiceWanted) -> dict[str, Any]:
    own = pod.metadata(wanted, wanted.labels(names.SERVER), _annotations(wanted))
    return {"metadata": {"name": wanted.revision, **own}, "spec": _pod(wanted)}


def _annotations(wanted: ServiceWanted) -> dict[str, str]:
    return {
        f"{_SCALING}/initial-scale": "1",
        f"{_SCALING}/min-scale": str(wanted.scale.min),
        f"{_SCALING}/max-scale": str(wanted.scale.max),
        f"{_SCALING}/window": f"{wanted.settings.window_seconds}s",
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(wanted.http_port),
        "prometheus.io/path": "/metrics",
    }


def _pod(wanted: ServiceWanted) -> dict[str, Any]:
    items = [
        {"key": names.served_key(wanted.revision), "path": names.SERVICE_KEY},
        {"key": names.COMPARE_KEY, "path": names.COMPARE_KEY},
    ]
    volumes = [
        *pod.volumes(wanted),
        {"name": "service", "configMap": {"name": names.spec_config_map(wanted.pool), "items": items}},
    ]
    if wanted.asks_token:
        token = [{"key": names.TOKEN_KEY, "path": names.TOKEN_KEY}]
        volumes.append({"name": "token", "secret": {"secretName": wanted.token_secret, "items": token}})
    timeout = wanted.timeout_seconds
    return {
        "containerConcurrency": wanted.scale.concurrency,
        "timeoutSeconds": timeout,
        **({"responseStartTimeoutSeconds": timeout} if timeout > START_SECONDS else {}),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [_container(wanted)],
        "volumes": volumes,
        **pod.chosen(wanted),
    }


def _container(wanted: ServiceWanted) -> dict[str, Any]:
    limit, request = wanted.cpu_millis
    environment = names.store_environment(wanted.place.url) | {
        "SAPFLOW_SERVICE_FILE": f"{names.SERVICE_FOLDER}/{names.SERVICE_KEY}",
        "SAPFLOW_COMPARE_URL_FILE": f"{names.SERVICE_FOLDER}/{names.COMPARE_KEY}",
        "SAPFLOW_TERMINATION_LOG": names.TERMINATION_LOG,
        "PYTHONHASHSEED": "0",
    }
    mounts = [*pod.mounts(), {"name": "service", "mountPath": names.SERVICE_FOLDER, "readOnly": True}]
    if wanted.asks_token:
        environment["SAPFLOW_TOKEN_FILE"] = f"{names.TOKEN_FOLDER}/{names.TOKEN_KEY}"
        mounts.append({"name": "token", "mountPath": names.TOKEN_FOLDER, "readOnly": True})
    if wanted.grpc:
        environment |= {
            "SAPFLOW_GRPC_PORT": str(names.FUNCTION_PORT),
            "SAPFLOW_HTTP_PORT": str(names.BESIDE_PORT),
        }
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {
        "image": wanted.image.name,
        "imagePullPolicy": wanted.image.pull_policy,
        "command": COMMAND,
        "env": pod.environment(environment | dict.fromkeys(threads, str(wanted.threads))),
        **_listening(wanted),
        "resources": {
            "limits": {"cpu": pod.cores(limit), "memory": wanted.memory},
            "requests": {"cpu": pod.cores(request), "memory": wanted.memory},
        },
        "securityContext": pod.CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }


def _listening(wanted: ServiceWanted) -> dict[str, Any]:
    """The port that Knative sends requests to, and how it asks whether the process is ready.

    The process listens once its golden rows are answered. Without a period Knative asks many times a second. To a port
    called h2c it speaks HTTP/2.
    """
    port: dict[str, Any] = {"containerPort": names.FUNCTION_PORT}
    probe: dict[str, Any] = {"httpGet": {"path": READY_PATH, "port": names.FUNCTION_PORT}}
    if wanted.grpc:
        port |= {"name": "h2c"}
        probe = {"grpc": {"port": names.FUNCTION_PORT}}
    return {"ports": [port], "readinessProbe": {**probe, "successThreshold": 1}}
