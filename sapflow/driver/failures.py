"""What a driver makes of errors: the one that others followed from, and the failure of a job that a limit stopped."""

from typing import Any

from sapflow.errors import JobFailed, SapflowError, StoreUnavailable
from sapflow.objects import keys
from sapflow.records.commits import Records


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


def goes_on_after(error: SapflowError) -> bool:
    """Whether the next driver of a job goes on where one has failed by this: the job itself has not."""
    return error.retryable or error.reason == StoreUnavailable.reason


def first_of(error: SapflowError | ExceptionGroup[Exception]) -> SapflowError:
    """The first error in nested groups; the others followed from it or happened at the same time."""
    first: Exception = error
    while isinstance(first, ExceptionGroup):
        first = first.exceptions[0]
    if not isinstance(first, SapflowError):
        raise error
    return first


async def outcome_of_another(records: Records, prefix: str) -> dict[str, Any] | None:
    """The outcome, if another driver finished the job while this one failed; else None."""
    try:
        return await records.read(keys.result(prefix, "outcome.json"))
    except SapflowError:
        return None


async def record(records: Records, failure: SapflowError, version: int) -> None:
    """Record why the job stopped after `version`; a store that does not take it adds a note to the failure."""
    try:
        await records.fail(failure, version)
    except SapflowError as error:
        failure.add_note(f"(this failure could not be recorded in the store: {error})")
