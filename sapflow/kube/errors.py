"""What a request to an API server may raise.

SapflowError
└── ClusterError              the API server refused: `status` is HTTP's, `body` the text of its answer
    └── ClusterUnavailable    no answer (status 0), or one that asks for another try
"""

from sapflow.errors import SapflowError


class ClusterError(SapflowError):
    """The API server refused a request.

    A later try may help unless the object itself is at fault: rights and quotas are mended elsewhere, and a kind that
    was installed a moment ago is not known everywhere yet.
    """

    reason = "ClusterRefused"

    def __init__(self, message: str, status: int, body: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.body = body
        self.retryable = status not in (400, 422)


class ClusterUnavailable(ClusterError):
    """The API server did not answer, or asked for another try."""

    reason = "ClusterUnavailable"
