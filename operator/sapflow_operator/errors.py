"""What the operator raises on purpose.

OperatorError                 a SapflowError: has `reason`, `retryable`
├── CredentialsRefused        the store makes no credentials for one job, and the job shares none
├── SecretUnusable            the Secret that spec.storage.secretName names is missing or incomplete
└── ClusterError              the API server refused, or did not answer: `status` is the HTTP status
    └── ClusterUnavailable    no answer, or one to try again for at once
"""

from sapflow.errors import SapflowError


class OperatorError(SapflowError):
    """Base of the operator's errors."""


class CredentialsRefused(OperatorError):
    """The store makes no credentials for this job alone, and the job does not share those it has."""

    reason = "CredentialsRefused"


class SecretUnusable(OperatorError):
    """The Secret with a job's store credentials is missing or lacks a key."""

    reason = "SecretUnusable"
    retryable = True


class ClusterError(OperatorError):
    """The API server refused a request. Tried again but where the object itself is at fault: rights and quotas are
    mended outside a job, and a kind that was installed a moment ago is not known everywhere yet."""

    reason = "ClusterRefused"

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
        self.retryable = status not in (400, 422)


class ClusterUnavailable(ClusterError):
    """The API server did not answer, or asked for another try."""

    reason = "ClusterUnavailable"
