"""The seam of a preparation's steps.

    Step ── begin ──► Fitted                  where nothing is to be learnt of the rows
                └───► Fit ── next ──► Fit ── next ──► Fitted      one pass over the training rows before each `next`

A Fit and a Fitted are values: they are made into records and back between functions, at any moment. Whatever is learnt
of the rows is learnt by `collect` on each batch of a partition in turn, and by `merge` of the partitions' records in
their order, up a tree of fixed fan-in. So the bits follow from source and parameters alone, whoever computes them.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from sapflow.errors import SapflowError
from sapflow.preparation.batch import Batch, Kind
from sapflow.preparation.record import Record


@dataclass(frozen=True, slots=True)
class ColumnType:
    """What a column holds. `width` is the number of values of a row: 1, or k of a step that makes k features."""

    kind: Kind | str
    """That of a source's column. After steps also Class (float64 [n], numbers of classes) and Tokens."""
    width: int = 1
    names: tuple[str, ...] = ()
    """The features' names where there are several; the classes' names by their numbers."""
    shape: tuple[int, ...] = ()
    """Of images that are decoded, [height, width, channels]; of tokens, [length]. Otherwise empty."""
    vocabulary: int = 0
    """Of tokens, how many different ones there may be."""


Schema = Mapping[str, ColumnType]
"""The columns in their order."""


class StepProblem(SapflowError):
    """A step does not fit its columns, or the rows. `field` is what to change within the step, or empty."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class Fitted(ABC):
    """A step that knows all it needs. `apply` gives the same row the same bits in every batch, function and process."""

    name: ClassVar[str]
    """In the registry, and in records."""

    @abstractmethod
    def reads(self) -> Sequence[str]:
        """The names of the columns whose values it reads."""

    @abstractmethod
    def writes(self) -> Sequence[str]:
        """The names of the columns that it changes, makes or removes."""

    @property
    def drops_rows(self) -> bool:
        """Whether some rows may not come out; bad ones count."""
        return False

    @abstractmethod
    def schema(self, given: Schema) -> Schema:
        """The columns that come out where these come in. Raises StepProblem."""

    @abstractmethod
    def apply(self, batch: Batch) -> "Applied":
        """The rows after the step."""

    @abstractmethod
    def record(self) -> Record:
        """Everything that `of_record` makes it again from."""

    @classmethod
    @abstractmethod
    def of_record(cls, record: Record) -> "Fitted":
        """The step that `record` was made from. Raises KeyError, TypeError, ValueError if it is no such record."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What came out of a step: a batch, and the rows that it could not take (they are not in the batch)."""

    batch: Batch
    bad: tuple["BadRows", ...] = ()


@dataclass(frozen=True, slots=True)
class BadRows:
    """Rows that a step could not take, by their numbers within the partition, and why."""

    numbers: Sequence[int]
    column: str
    reason: str
    values: Sequence[str]
    """What each row has there."""


class Fit(ABC):
    """A step between two passes."""

    name: ClassVar[str]
    """That of the Fitted it becomes; a Fit's record names its class beside it."""

    @abstractmethod
    def reads(self) -> Sequence[str]:
        """The names of the columns that `collect` reads."""

    @abstractmethod
    def writes(self) -> Sequence[str]:
        """The names of the columns that the fitted step will change, make or remove, as far as they are known."""

    @property
    def drops_rows(self) -> bool:
        """Whether the fitted step may leave out training rows; bad ones count. What follows is not learnt before."""
        return False

    def schema(self, given: Schema) -> Schema | None:
        """The columns that will come out, if their names and kinds are known already; widths need not be.

        Where they are, later steps that read none of `writes` are learnt in the same pass. None: they wait.
        """
        return None

    @abstractmethod
    def collect(self, batch: Batch, before: Record | None) -> Record:
        """What is counted of the batches of a partition so far, this one included. `batch` has training rows alone."""

    @abstractmethod
    def merge(self, records: Sequence[Record]) -> Record:
        """What is counted of several ranges of partitions, in their order. Associativity is not needed: the tree is
        fixed."""

    @abstractmethod
    def next(self, total: Record | None) -> "Fit | Fitted":
        """What follows from a pass. None: there were no training rows. Raises StepProblem."""

    @abstractmethod
    def record(self) -> Record:
        """Everything that `of_record` makes it again from."""

    @classmethod
    @abstractmethod
    def of_record(cls, record: Record) -> "Fit":
        """The fit that `record` was made from."""


class Step(ABC):
    """A step as the spec has it: `sapflow.spec.preparation` says what is asked for."""

    @abstractmethod
    def begin(self, given: Schema) -> Fit | Fitted:
        """The step over these columns. Raises StepProblem, which names the column that is not there or of another
        kind."""
