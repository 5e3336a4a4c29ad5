"""What a driver makes of errors: the one that others followed from, and the failure of a job that a limit stopped."""

from sapflow.errors import JobFailed, SapflowError


def stopped_by(stop: str, reason: str, version: int, runtime: str) -> JobFailed:
    """The failure of a job that a limit has stopped after `version`."""
    remedy = "raise the limit and run the job again to go on from there (`sapflow export` gives its model)"
    if runtime == "kubernetes":
        remedy = (
            "its model is at status.checkpoint.uri; a job that has ended is not taken up again: one with a higher "
            "limit is a new one"
        )
    return JobFailed(
        f"{stop} after step {version}, which is kept as a checkpoint; {remedy}",
        reason=reason,
        version=version,
    )


def first_of(error: SapflowError | ExceptionGroup[Exception]) -> SapflowError:
    """The first error in nested groups; the others followed from it or happened at the same time."""
    first: Exception = error
    while isinstance(first, ExceptionGroup):
        first = first.exceptions[0]
    if not isinstance(first, SapflowError):
        raise error
    return first
