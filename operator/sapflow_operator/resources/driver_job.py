"""The Job that runs the driver: one pod at a time, which is restarted after any end that is not final."""

import json
from datetime import datetime
from typing import Any

from sapflow_operator import names
from sapflow_operator.resources import metadata, pod
from sapflow_operator.wanted import Wanted

CRASHES = 50
"""Number of crashes after which the job fails; after each one the driver continues from the last commit."""
GRACE_SECONDS = 45
DRIVER_MILLIS = 100
"""The driver's CPU request in thousandths."""
_SCRAPED = {
    "prometheus.io/scrape": "true",
    "prometheus.io/port": str(names.DRIVER_METRICS_PORT),
    "prometheus.io/path": "/metrics",
}


def build(wanted: Wanted, ends: datetime | None = None) -> dict[str, Any]:
    """A batch/v1 Job. Its digest annotation identifies the spec that its pods have read. `ends` is its deadline.

    It has no field `suspend`: that is Kueue's, which knows the Job by the labels that it takes over from its owner.
    """
    name = names.driver(wanted.pool)
    own = metadata.build(wanted, name, names.DRIVER, {names.SPEC_DIGEST: wanted.digest})
    own["labels"] = {**wanted.queue, **own["labels"]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": own,
        "spec": {
            "backoffLimit": CRASHES,
            "completions": 1,
            "parallelism": 1,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {
                            "containerName": names.DRIVER,
                            "operator": "In",
                            "values": [names.EXIT_FAILED],
                        },
                    },
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                ]
            },
            "template": {
                "metadata": pod.metadata(wanted, wanted.labels(names.DRIVER), _SCRAPED),
                "spec": {
                    "restartPolicy": "Never",
                    "serviceAccountName": name,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": GRACE_SECONDS,
                    "securityContext": pod.SECURITY,
                    "containers": [_container(wanted, ends)],
                    "volumes": [
                        *pod.volumes(wanted),
                        {"name": "job", "configMap": {"name": names.spec_config_map(wanted.pool)}},
                    ],
                    **pod.chosen(wanted),
                },
            },
        },
    }


def _container(wanted: Wanted, ends: datetime | None) -> dict[str, Any]:
    # Kueue may hold the Job for any time, which does not count: then the driver counts its own running time.
    deadline = {} if ends is None or wanted.queue else {"SAPFLOW_DEADLINE": ends.isoformat()}
    image, memory = wanted.settings.operator_image, wanted.settings.driver_memory
    return {
        "name": names.DRIVER,
        "image": image.name,
        "imagePullPolicy": image.pull_policy,
        "command": ["python3", "-m", wanted.driver_module],
        "env": [
            *pod.environment(
                names.pool_environment(wanted.place.url)
                | {"SAPFLOW_MAX_INSTANCES": str(wanted.settings.max_instances)}
                | {"SAPFLOW_IMAGES": json.dumps({role: wanted.image(role).name for role in wanted.roles})}
                | deadline
            ),
            *pod.own_environment(wanted),
        ],
        "ports": [{"name": "metrics", "containerPort": names.DRIVER_METRICS_PORT}],
        # There is no CPU limit, because every step waits for the driver.
        "resources": {
            "limits": {"memory": memory},
            "requests": {"cpu": f"{DRIVER_MILLIS}m", "memory": memory},
        },
        "securityContext": pod.CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            *pod.mounts(),
            {"name": "job", "mountPath": names.JOB_FOLDER, "readOnly": True},
        ],
    }
