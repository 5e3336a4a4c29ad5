"""Errors of requests to an API server.

SapflowError
└── ClusterError              the API server refused: `status` is the HTTP status, `body` the text of its answer
    └── ClusterUnavailable    no answer (status 0), or one that asks to try again
"""

from sapflow.errors import SapflowError


class ClusterError(SapflowError):
    """The API server refused a request.

    A later try may help unless the object itself is wrong: rights and quotas are changed elsewhere, and a kind that was
    just installed is not known everywhere yet.
    """

    reason = "ClusterRefused"

    def __init__(self, message: str, status: int, body: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.body = body
        self.retryable = status not in (400, 422)


class ClusterUnavailable(ClusterError):
    """The API server did not answer, or asked to try again."""

    reason = "ClusterUnavailable"
