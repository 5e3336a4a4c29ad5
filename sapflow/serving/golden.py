"""Golden rows: raw rows of training with the outputs that its model gave, kept beside the model. Data, never code.

A server computes them anew before it is ready. Outputs are kept, and not decisions, so that the rows serve every
decision: what is decided of the kept and of the computed outputs must be the same.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sapflow.errors import CorruptObject, DataError
from sapflow.preparation import stored_batch
from sapflow.preparation.batch import Batch
from sapflow.preparation.record import Record
from sapflow.serving import input_table
from sapflow.serving.raw_rows import RawRows
from sapflow.serving.served_model import ServedModel

VERSION = 1
MOST_ROWS = 16
RELATIVE, ABSOLUTE = 1e-5, 1e-5
"""How far outputs may be from those of training: another order of sums, or another CPU, gives less."""
SURE = 1e-4
"""Decisions are compared where no output is nearer to another decision than this."""


class GoldenRowsFailed(DataError):
    """The model does not give what it gave when it was trained."""

    reason = "GoldenRowsFailed"


@dataclass(frozen=True, slots=True)
class Profile:
    """What is known of the raw rows of training, before there is a model."""

    rows: Batch
    """A few of them, all of which can be used."""
    ranges: Mapping[str, tuple[float, float]]
    """The least and the greatest number, by column."""
    seen: Mapping[str, tuple[str, ...]]
    """The texts of columns that have few."""


@dataclass(frozen=True, slots=True)
class GoldenRows:
    """Rows that a model must answer as in training."""

    profile: Profile
    outputs: np.ndarray
    """float32 [n, outputs]."""
    model: str
    """The SHA-256 of the model's file."""

    def encode(self) -> bytes:
        """The rows as an object; the same rows have the same bytes."""
        batch = b"".join(stored_batch.encode(self.profile.rows))
        notes = {
            "version": VERSION,
            "model": self.model,
            "ranges": {name: list(each) for name, each in sorted(self.profile.ranges.items())},
            "seen": {name: list(each) for name, each in sorted(self.profile.seen.items())},
        }
        return Record(notes, {"outputs": self.outputs, "rows": np.frombuffer(batch, np.uint8)}).encode()

    @classmethod
    def decode(cls, data: bytes | memoryview, key: str) -> "GoldenRows":
        """The rows of an object. Raises CorruptObject."""
        record = Record.decode(data, key)
        try:
            notes = record.notes
            if notes["version"] != VERSION:
                raise ValueError(f"its version is {notes['version']}, and this release reads {VERSION}")
            batch = stored_batch.decode(record.arrays["rows"].tobytes(), key)
            ranges = {
                str(name): (float(least), float(most)) for name, (least, most) in notes["ranges"].items()
            }
            seen = {str(name): tuple(map(str, each)) for name, each in notes["seen"].items()}
            outputs = record.arrays["outputs"]
            if len(outputs) != len(batch):
                raise ValueError("it has not as many outputs as rows")
            return cls(Profile(batch, ranges, seen), outputs, str(notes["model"]))
        except (KeyError, TypeError, ValueError, AttributeError, json.JSONDecodeError) as error:
            raise CorruptObject(f"object {key} holds no golden rows of this release's: {error}") from error


def replay(golden: GoldenRows, model: ServedModel, sha256: str) -> None:
    """Compute the golden rows anew. Raises GoldenRowsFailed, which names the first row that is not as in training."""
    if golden.model != sha256:
        raise GoldenRowsFailed(
            f"the golden rows are of the model {golden.model[:12]}…, and this is {sha256[:12]}…: put the ones of this "
            "model beside it"
        )
    rows = model.table.of_columns(golden.profile.rows.columns, len(golden.profile.rows))
    computed = model.compute(rows)
    if computed.bad:
        raise GoldenRowsFailed(f"golden {computed.bad[0]}; training could use it")
    far = ~np.isclose(computed.outputs, golden.outputs, rtol=RELATIVE, atol=ABSOLUTE * _scale(golden.outputs))
    if far.any():
        row = int(far.any(axis=1).argmax())
        raise GoldenRowsFailed(
            f"golden row {row} gives the outputs {_few(computed.outputs[row])}, and gave {_few(golden.outputs[row])} "
            "when the model was trained"
        )
    for row, (now, then) in enumerate(
        zip(model.decide(computed.outputs, rows), model.decide(golden.outputs, rows), strict=True)
    ):
        if now.keys() != then.keys() or (
            now.get("label") != then.get("label") and not _is_close_call(model, golden.outputs[row])
        ):
            raise GoldenRowsFailed(f"golden row {row} is decided as {now}, and was as {then}")


def _is_close_call(model: ServedModel, outputs: np.ndarray) -> bool:
    """Whether outputs that differ by no more than SURE may be decided otherwise."""
    steps = np.array([-SURE, SURE], np.float32) * _scale(outputs)
    near = np.array([outputs + step * unit for unit in np.eye(len(outputs)) for step in steps], np.float32)
    return len({str(each.get("label")) for each in model.decisions.of(near)}) > 1


def _scale(outputs: np.ndarray) -> float:
    return max(1.0, float(np.abs(outputs).max(initial=0.0)))


def _few(values: np.ndarray) -> str:
    told = ", ".join(f"{each:.6g}" for each in values[:5].tolist())
    return f"{told} …" if len(values) > 5 else told


def with_profile(model: ServedModel, profile: Profile) -> None:
    """Let the model's table know what training has seen."""
    model.table = input_table.with_ranges(model.table, profile.ranges, profile.seen)


def rows_of(model: ServedModel, profile: Profile) -> RawRows:
    """The profile's rows as the model takes them."""
    return model.table.of_columns(profile.rows.columns, len(profile.rows))
