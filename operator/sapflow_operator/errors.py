"""The exceptions that the operator raises on purpose.

OperatorError                 a SapflowError: has `reason`, `retryable`
├── CredentialsRefused        the store makes no credentials for a single job, and the job does not share its own
└── SecretUnusable            the Secret that spec.storage.secretName names is missing or incomplete

Beside them stand the errors of its API client: ClusterError and ClusterUnavailable of sapflow.kube.errors.
"""

from sapflow.errors import SapflowError


class OperatorError(SapflowError):
    """Base of the operator's errors."""


class CredentialsRefused(OperatorError):
    """The store makes no credentials for a single job, and the job does not share its own."""

    reason = "CredentialsRefused"


class SecretUnusable(OperatorError):
    """The Secret with a job's store credentials is missing or lacks a key."""

    reason = "SecretUnusable"
    retryable = True
