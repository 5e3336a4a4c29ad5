"""The seam of the readers of raw data: what a source holds, how it is cut into partitions, and their rows.

    survey ──► Plan ── partitioned ──► Plan ── scan of each partition, cut ──► Plan ── batches ──► Parsed, Parsed, …

`survey` reads the beginning of the first file alone. `partitioned` is for packed files that can be cut once their seek
points are known (`Plan.to_index`); where nobody finds them, each is one piece. `scan` and `cut` are for formats whose
rows can be told apart only by reading all that stands before them (`Plan.to_scan` says for which partitions); what
`cut` gives has exact ones. Everything follows from the files and from what is asked for, so every function and every
process has the same rows.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from sapflow.data.data_file import DataFile
from sapflow.preparation.batch import Batch, Kind
from sapflow.preparation.record import Record
from sapflow.preparation.step import ColumnType, Schema

PARTITION_BYTES = 32 << 20
"""About how much of a source is one partition."""
RAW_CHARACTERS = 1000
"""So many characters of a rejected row are kept."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a user says of a source: `options` of its format, the types of some columns, and the words for a value
    that is missing."""

    options: Mapping[str, object] = field(default_factory=dict)
    columns: Mapping[str, Kind] = field(default_factory=dict)
    missing: Sequence[str] = ("", "NA")


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PlannedColumn(_Document):
    """A column as it is read. `width` is k where each row has a vector of k numbers."""

    name: str
    kind: Kind
    width: int = 1
    shape: tuple[int, ...] = ()
    """Of images that come decoded, [height, width, channels]; empty where they are encoded files."""


class Piece(_Document):
    """Part of one file: `begin` and `end` are bytes of CSV and JSON Lines, row groups of Parquet, rows of IDX and NPZ.

    Of image folders: files from `begin` to `end`, and `file` is the first.
    """

    file: int
    begin: int
    end: int


class Partition(_Document):
    """Consecutive rows of a source, which are read by one call at a time."""

    pieces: tuple[Piece, ...]
    notes: Mapping[str, Any] = {}
    """What the format's scan has found of it."""


class Plan(_Document):
    """How a source is read: its columns with their types, and its partitions in their order."""

    format: str
    columns: tuple[PlannedColumn, ...]
    partitions: tuple[Partition, ...]
    to_scan: tuple[int, ...] = ()
    """The numbers of the partitions that must be scanned before any is read."""
    to_index: tuple[int, ...] = ()
    """The numbers of the packed files whose seek points are to be found before partitions are known."""
    unpacked: Mapping[int, int] = {}
    """The sizes in bytes of what is unpacked of such files, by their numbers, once they are known."""
    options: Mapping[str, Any] = {}
    missing: tuple[str, ...] = ()
    named_files: Mapping[str, str] = {}
    """What is in the files that steps name, such as tokenizers."""
    notes: Mapping[str, Any] = {}
    """What the format's survey has found, such as whether files have a header."""

    @property
    def types(self) -> Schema:
        """The columns as the first step gets them."""
        return {each.name: ColumnType(each.kind, each.width, shape=each.shape) for each in self.columns}


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that cannot be read."""

    number: int
    """Its number within the partition, from 0."""
    file: str
    line: int
    """Where it begins in the file, from 1; in formats without lines its number, from 1."""
    column: str
    """Empty where the row as such is wrong."""
    reason: str
    raw: str
    """Its text, or the value, up to RAW_CHARACTERS."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """Consecutive rows of a partition, less the rejected ones, which count among its up to BATCH_ROWS rows.

    Where a batch ends follows from the source alone: also at the end of a file, and where rows are large. It may be
    empty.
    """

    batch: Batch
    rejected: tuple[Rejected, ...] = ()


class Reader(ABC):
    """Reads one format. `files` are the source's, always all of them and in the same order as in the survey."""

    format: ClassVar[str]

    @abstractmethod
    def survey(self, files: Sequence[DataFile], asked: Asked) -> Plan:
        """The columns and the partitions. Raises DataError, which names what is wrong and the remedy."""

    def partitioned(self, files: Sequence[DataFile], plan: Plan) -> Plan:
        """The plan whose partitions are those of `files`, in which the ones of `plan.to_index` are unpacked."""
        raise NotImplementedError(f"the format {self.format} has no files with seek points")

    def scan(self, files: Sequence[DataFile], plan: Plan, number: int) -> Record:
        """What is to be known of partition `number`, one of `plan.to_scan`, before rows are read. Raises DataError."""
        raise NotImplementedError(f"the format {self.format} has nothing to scan")

    def cut(self, plan: Plan, scans: Sequence[Record]) -> Plan:
        """The plan with exact partitions, from the scans of `plan.to_scan` in their order. Raises DataError."""
        del scans
        return plan

    @abstractmethod
    def batches(self, files: Sequence[DataFile], plan: Plan, number: int, first: int = 0) -> Iterator[Parsed]:
        """The rows of partition `number`, from its batch `first` on. Raises DataError."""
