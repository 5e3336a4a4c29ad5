"""Errors between a command and a cluster, and the translation of an API server's refusals for people.

SapflowError
├── ClientMissing                the kubernetes package is not installed
├── NoCluster                    there is no usable kubeconfig
├── ClusterError                 defined in sapflow.kube: `status` is the HTTP status
│   ├── ClusterUnavailable       the API server does not answer (retryable)
│   └── ClusterRefused           it refused the request
│       └── NotInstalled         the cluster knows no TrainingJobs
└── JobUnknown                   there is no such job (any more)
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from sapflow.errors import SapflowError, SpecError
from sapflow.kube.errors import ClusterError, ClusterUnavailable


class ClientMissing(SapflowError):
    """The kubernetes package is not installed."""

    reason = "ClientMissing"


class NoCluster(SapflowError):
    """There is no usable kubeconfig."""

    reason = "NoCluster"


class ClusterRefused(ClusterError):
    """The API server refused a request; `status` is the HTTP status."""


class NotInstalled(ClusterRefused):
    """The cluster knows no TrainingJobs."""

    reason = "NotInstalled"


class JobUnknown(SapflowError):
    """There is no such job (any more)."""

    reason = "JobUnknown"


_VALUE = re.compile(
    r'^(?:Invalid value|Unsupported value|Too many|Too long|Required value)(?:: (?:"[^"]*"|[^:]*))?: '
)
_UNDECLARED = re.compile(r"\.(spec[^:]*): field not declared in schema")


def told(what: str, server: str, error: ClusterError) -> SapflowError:
    """The error for a server that refuses to do `what`, or does not answer, with a remedy."""
    status, body = error.status, error.body
    if not status:
        return ClusterUnavailable(
            f"{error}; is the cluster up, and does the kubeconfig name the right one (--context)?", status
        )
    said = _status_of(body)
    message = str(said.get("message") or body.strip()[:300] or f"HTTP {status}")
    details = said.get("details") or {}
    if isinstance(error, ClusterUnavailable):
        return ClusterUnavailable(
            f"the API server at {server} cannot {what} now: {message}; try again", status
        )
    if status < 300:
        return ClusterRefused(str(error), status)
    if problems := _problems(status, message, details):
        return SpecError(problems)
    match status:
        case 401:
            remedy = "the kubeconfig's credentials are not accepted; log in again"
        case 403:
            remedy = "ask the cluster's administrator for this right, or choose another namespace with -n"
        case 404 if not details.get("name"):
            return NotInstalled(
                f"the cluster at {server} knows no TrainingJobs; install Sapflow there (docs/install.md): "
                "helm install sapflow charts/sapflow",
                status,
            )
        case 404 if details.get("kind") == "namespaces":
            remedy = f"create it: kubectl create namespace {details['name']}"
        case 409 if details.get("causes"):
            fields = ", ".join(str(cause.get("field", "")).lstrip(".") for cause in details["causes"])
            remedy = f"change {fields} with the tool that set it, or take it over with --force-conflicts"
        case _:
            remedy = ""
    sentence = f"{server} refused to {what}: {message}"
    return ClusterRefused(f"{sentence}; {remedy}" if remedy else sentence, status)


def _status_of(body: str) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _problems(status: int, message: str, details: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The fields that a refusal names, each with the problem."""
    if status == 422:
        return [
            (str(cause.get("field") or "(document)"), _VALUE.sub("", str(cause.get("message", ""))))
            for cause in details.get("causes") or ()
        ]
    return [
        (field, "is not a field that the cluster's Sapflow knows; upgrade it there, or leave the field out")
        for field in _UNDECLARED.findall(message)
    ]
