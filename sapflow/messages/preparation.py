"""Requests to preparers and their replies: raw data is surveyed, parsed, counted and written as blocks, in this order.

    survey ─► (index* ─► partition)? ─► scan* ─► begin ─► parse ─► (merge ─► advance ─► count)*
           ─► merge ─► advance ─► write ─► finish ─► clear

Calls about partitions take a range of them. One that runs out of time says where it is, and goes on from there in
another function. Every object that they write is named by what it follows from, so any call may be repeated.
"""

from typing import Any, ClassVar, Literal

from pydantic import Field

from sapflow.messages.documents import Document
from sapflow.messages.replies import FunctionReply
from sapflow.messages.requests import Request

MERGED_AT_ONCE = 32
"""The fan-in of the tree by which statistics are merged. Bits follow from it."""


class _OfPreparation(Request):
    """What all requests to preparers say."""

    of_step: ClassVar[bool] = False
    spec: Document
    """The job, or the search, whose data it is."""


class SurveyRequest(_OfPreparation):
    """List the files, find the columns' types, and cut the source into partitions."""

    op: Literal["survey"] = "survey"


class _OfPlan(_OfPreparation):
    plan: Document


class _Range(_OfPlan):
    """Work on partitions, from the batch `batch` of `first` on, whose beginning the cursor has."""

    first: int = Field(ge=0)
    last: int = Field(ge=1)
    """The partition behind the last one."""
    batch: int = Field(0, ge=0)
    cursor: str | None = None


class IndexRequest(_Range):
    """Find the seek points of packed files: partitions are places in `plan.to_index`, batches borders of a file's
    partitions. `plan` is that of the survey."""

    op: Literal["index"] = "index"
    most: int | None = Field(None, ge=1)
    """The most borders to find in a file, for a source of which only the beginning is prepared; None: all."""


class PartitionRequest(_OfPlan):
    """Cut the source into partitions where seek points are known; `plan` is that of the survey."""

    op: Literal["partition"] = "partition"
    estimated: bool = False
    """Whether sizes of files whose seek points are not all known are estimated by those that are."""


class ScanRequest(_Range):
    """Scan partitions that must be, before any row is read; `plan` is that of the survey, or with seek points."""

    op: Literal["scan"] = "scan"


class BeginRequest(_OfPlan):
    """Make partitions exact, and begin the steps; `plan` is that which was scanned."""

    op: Literal["begin"] = "begin"


class ParseRequest(_Range):
    """Parse partitions into columns in the store, and count in the same pass what the first state asks for."""

    op: Literal["parse"] = "parse"
    state: Document


class CountRequest(_Range):
    """Count in parsed partitions what the state asks for."""

    op: Literal["count"] = "count"
    state: Document


class MergeStatisticsRequest(_OfPlan):
    """Merge what is counted of up to MERGED_AT_ONCE nodes of the level below into node `index` of `level`."""

    op: Literal["mergeStatistics"] = "mergeStatistics"
    state: Document
    level: int = Field(ge=1)
    index: int = Field(ge=0)
    nodes: int = Field(ge=1)
    """Those of the level below, all together."""


class AdvanceRequest(_OfPlan):
    """Learn from what is counted of all partitions. Bad rows beyond what is allowed are an error."""

    op: Literal["advance"] = "advance"
    state: Document
    level: int = Field(ge=1)
    """That of the root of the tree."""


class WriteRequest(_Range):
    """Write the blocks of partitions; `state` has all steps fitted, and the root of its tree has the census."""

    op: Literal["write"] = "write"
    state: Document
    census: Document


class FinishRequest(_OfPlan):
    """Write what the steps have learnt, and the manifest last."""

    op: Literal["finish"] = "finish"
    state: Document
    census: Document


class ClearRequest(_OfPreparation):
    """Remove everything that was needed only while the data was prepared."""

    op: Literal["clear"] = "clear"


class PartitionReply(FunctionReply):
    """The answer after the source was cut into partitions."""

    plan: Document
    partitions: int
    to_scan: list[int]


class SurveyReply(PartitionReply):
    """The answer after a survey. Where files are to be indexed, partitions are not known yet."""

    to_index: list[int] = []
    bytes_there: int = 0
    """Of the source's files."""
    files: int = 0
    largest: int = 0
    """Bytes of the largest file that is to be indexed."""


class BeginReply(FunctionReply):
    """The answer after the steps began."""

    plan: Document
    partitions: int
    state: Document
    fitted: bool
    """Whether nothing is left to be learnt."""
    learning: list[str] = []
    """The steps that learn in the coming pass, in words."""
    passes: int = 0
    """Passes over parsed rows that the steps need, if each learns in one."""


class RangeReply(FunctionReply):
    """The answer after work on partitions: `first` and `batch` are where it goes on."""

    first: int = 0
    batch: int = 0
    cursor: str | None = None
    rows: int = Field(0, ge=0)
    """Rows that the call has gone through."""
    rejected: int = Field(0, ge=0)
    """Bad rows among them."""
    raw: int = Field(0, ge=0)
    """Bytes of the source in partitions that were finished; of an index, bytes up to which what is unpacked of the last
    file is known."""

    def progress(self) -> dict[str, Any]:
        return {"first": self.first, "batch": self.batch, "cursor": self.cursor}


class MergeStatisticsReply(FunctionReply):
    """The answer after statistics were merged."""


class AdvanceReply(FunctionReply):
    """The answer after a pass: the next state, or the census after the last."""

    state: Document
    fitted: bool
    learning: list[str] = []
    census: Document | None = None
    """What was counted of the samples; None before the pass in which all is fitted."""
    train: int = 0
    held: int = 0
    bad: int = 0


class FinishReply(FunctionReply):
    """The answer after the manifest was written."""

    manifest: str
    train: int
    held: int
    bad: int


class ClearReply(FunctionReply):
    """The answer after a clearing."""
