"""A file of TensorBoard's events that grows with a job, and a mark beside it of how far it is.

Events are written before the mark. What an interrupted export has left behind the mark is cut off by the next one, so
no event is there twice.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import IO, Any

from sapflow.monitoring.trackers.tracker import library
from sapflow.text import parse_json

EXTRA = "tensorboard"
_MARK = "sapflow.json"
_EVENTS = "events.out.tfevents.sapflow"


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a file is."""

    uid: str
    version: int
    """The last version that is in it."""
    commit: str
    """The digest of that version's commit."""
    state: str
    started: float
    """When the job began, as the file has it."""
    size: int = 0
    """Bytes of the file up to there."""


class EventFile:
    """The events of one run. As a context manager it is written; nothing changes if it is left by an exception."""

    def __init__(self, folder: Path) -> None:
        """`folder` is the run's. Raises TrackerMissing."""
        self._folder, self._path, self._mark = folder, folder / _EVENTS, folder / _MARK
        self._events: ModuleType = library("tensorboard.compat.proto.event_pb2", EXTRA)
        self._summaries: ModuleType = library("tensorboard.compat.proto.summary_pb2", EXTRA)
        self._records: ModuleType = library("tensorboard.summary.writer.record_writer", EXTRA)
        self._file: IO[bytes] | None = None
        self._beside: Path | None = None

    def mark(self) -> Mark | None:
        """How far the file is; None if there is none that can be continued."""
        try:
            found = Mark(**parse_json(self._mark.read_bytes()))
            return found if self._path.stat().st_size >= found.size else None
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def open(self, after: Mark | None) -> None:
        """Begin to write: behind `after`, or a new file in place of what is there. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if after is not None:
            self._file = self._path.open("r+b")
            self._file.truncate(after.size)
            self._file.seek(after.size)
        else:
            self._beside = self._folder / f".{_MARK}.new"
            self._file = self._beside.open("wb")

    def begin(self, time: float) -> None:
        """Write what every file begins with."""
        self._write(self._events.Event(wall_time=time, file_version="brain.Event:2"))

    def scalars(self, time: float, step: int, values: Mapping[str, float]) -> None:
        """Write the figures of a step."""
        summary = self._summaries.Summary(
            value=[
                self._summaries.Summary.Value(tag=name, simple_value=value) for name, value in values.items()
            ]
        )
        self.summary(time, step, summary)

    def summary(self, time: float, step: int, summary: Any) -> None:
        """Write a message of TensorBoard's plugins."""
        self._write(self._events.Event(wall_time=time, step=step, summary=summary))

    def _write(self, event: Any) -> None:
        assert self._file is not None, "it is not open"
        self._records.RecordWriter(self._file).write(event.SerializeToString(deterministic=True))

    def close(self, mark: Mark) -> None:
        """End the file, and say how far it is. Raises OSError."""
        assert self._file is not None, "it is not open"
        size = self._file.tell()
        self._file.close()
        self._file = None
        if self._beside is not None:
            self._mark.unlink(missing_ok=True)
            self._beside.replace(self._path)
            self._beside = None
        beside = self._folder / f".{_MARK}"
        beside.write_text(json.dumps({**asdict(mark), "size": size}))
        beside.replace(self._mark)

    def __enter__(self) -> "EventFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        if self._beside is not None:
            self._beside.unlink(missing_ok=True)
