"""The exceptions that Sapflow raises on purpose.

    SapflowError                     has `reason` (CamelCase, stable), `retryable`
    ├── SpecError                    a field of a TrainingJob is wrong: `field`, what is wrong, what is allowed
    ├── DataError                    a data source is missing, corrupt or does not fit the job
    ├── StoreError                   the object store failed
    │   ├── BucketMissing            no such bucket
    │   ├── ObjectMissing            no such key
    │   │   └── CellLost             a cell's volume has lost an object
    │   ├── CorruptObject            an object has the wrong size, type or content
    │   ├── LaterRelease             a record is of a later release of Sapflow
    │   ├── AlteredObject            somebody else wrote or replaced a document of the job
    │   ├── StoreUnavailable         no answer, or an answer that asks to try again (retryable)
    │   └── StoreUnsafe              the store lets two writers both win, or refuses access
    ├── InvocationError              a function answered with an error, or not at all
    │   ├── OutOfMemory              the instance was killed over its memory limit
    │   ├── InvocationTimeout        no answer within the seconds given (retryable)
    │   └── InstanceLost             the instance died or hung up (retryable)
    ├── JobFailed                    the job cannot continue: `version` is its last good step
    ├── JobStopped                   the caller stopped the run; when it is run again, the job goes on
    ├── InputsChanged                the code or the data of a job is not what it was trained with so far
    └── OtherNumerics                a release that computes other bits began the job; nothing was computed

Each message says what was wrong, where, and what to do. Whether a retry may help is in the type.
"""


class SapflowError(Exception):
    """Base of all errors; `reason` is a stable CamelCase word for machines, the message is for people."""

    reason = "Error"
    retryable = False


class SpecError(SapflowError):
    """Fields of a document or options of a call are wrong. `problems` holds (field path, message) pairs."""

    reason = "InvalidSpec"

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        self.problems = problems
        super().__init__("\n".join(f"{field}: {message}" for field, message in problems))


class DataError(SapflowError):
    """A data source is missing, corrupt, or does not fit the job."""

    reason = "InvalidData"


class StoreError(SapflowError):
    """The object store could not serve a request."""

    reason = "StoreFailed"


class BucketMissing(StoreError):
    """There is no such bucket, and so nothing in it."""


class ObjectMissing(StoreError):
    """There is no object under the key."""

    reason = "ObjectMissing"


class CellLost(ObjectMissing):
    """A cell's volume has lost an object of its functions; the step in flight must be repeated."""

    reason = "CellLost"


class CorruptObject(StoreError):
    """An object's size, header, dtype or shape is not the expected one."""

    reason = "CorruptObject"


class LaterRelease(StoreError):
    """A record is of a later release of Sapflow, which knows more than this one; nothing was changed."""

    reason = "LaterRelease"


class AlteredObject(StoreError):
    """A document of the job is not the one that the job has written or read: somebody else put it there."""

    reason = "AlteredObject"


class StoreUnavailable(StoreError):
    """The store did not answer, or asked for another try."""

    reason = "StoreUnavailable"
    retryable = True


class StoreUnsafe(StoreError):
    """The store ignores create-only preconditions or denies access, so exactly-once is impossible with it."""

    reason = "StoreUnsafe"


class InvocationError(SapflowError):
    """A function answered with an error, or not at all."""

    reason = "InvocationFailed"

    def __init__(self, message: str, *, reason: str | None = None, retryable: bool | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason
        if retryable is not None:
            self.retryable = retryable


class OutOfMemory(InvocationError):
    """The instance was killed because it exceeded its memory limit."""

    reason = "OutOfMemory"


class InvocationTimeout(InvocationError):
    """The function did not answer within its time limit."""

    reason = "InvocationTimeout"
    retryable = True


class InstanceLost(InvocationError):
    """The instance died, or closed the connection, before it answered."""

    reason = "InstanceLost"
    retryable = True


class JobFailed(SapflowError):
    """The job cannot continue. `version` is the last committed version, or -1 if there is none."""

    reason = "JobFailed"

    def __init__(self, message: str, *, reason: str, version: int) -> None:
        super().__init__(message)
        self.reason = reason
        self.version = version
        self.model: str | None = None
        """The URI of the model as it was at `version`, if it was written."""


class JobStopped(SapflowError):
    """The caller stopped the run. When it is run again, the job goes on from the last commit."""

    reason = "Stopped"


class OtherNumerics(SapflowError):
    """The job was begun by a release that computes other bits; this one must not go on with it."""

    reason = "OtherNumerics"


class InputsChanged(SapflowError):
    """The code or the data of a job is not what it was begun with: its model would be neither one nor the other."""

    reason = "InputsChanged"
