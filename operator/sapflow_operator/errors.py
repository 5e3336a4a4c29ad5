"""The exceptions that the operator raises on purpose.

OperatorError                 a SapflowError: has `reason`, `retryable`
├── CredentialsRefused        the store makes no credentials for a single job, and the job does not share its own
├── EarlierObjects            an object of an earlier job of the same name is still being removed
│   └── SharedDataGone        the data that a job was about to read was removed together with its last user
├── ModelNotReady            the job whose model is to be served has not ended yet, or is not there
├── OriginUnusable            the job or search that another begins with is not there yet, or has not ended
├── NotOwned                  an object that is not the job's has the name of one of its children
└── SecretUnusable            the Secret that spec.storage.secretName names is missing or incomplete

Beside them stand the errors of its API client: ClusterError and ClusterUnavailable of sapflow.kube.errors.
"""

from sapflow.errors import SapflowError


class OperatorError(SapflowError):
    """Base of the operator's errors."""


class CredentialsRefused(OperatorError):
    """The store makes no credentials for a single job, and the job does not share its own."""

    reason = "CredentialsRefused"


class EarlierObjects(OperatorError):
    """An object of an earlier job of the same name is still being removed; it is waited for."""

    reason = "Starting"
    retryable = True


class NotOwned(OperatorError):
    """An object that is not the job's has the name of one of its children; it is never touched."""

    reason = "NotOwned"
    retryable = True


class ModelNotReady(OperatorError):
    """The job or the search whose model is to be served has not ended, or is not there: it is waited for."""

    reason = "ModelNotReady"
    retryable = True


class OriginUnusable(OperatorError):
    """The job or the search that another one begins with is not there yet, or has not ended: it is waited for."""

    reason = "OriginUnusable"
    retryable = True


class SharedDataGone(EarlierObjects):
    """The data that a job with user code was about to read was removed with its last user; the job cuts its own."""


class SecretUnusable(OperatorError):
    """The Secret with a job's store credentials is missing or lacks a key."""

    reason = "SecretUnusable"
    retryable = True
