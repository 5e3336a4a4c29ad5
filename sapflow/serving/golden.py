"""Golden rows: raw rows of training with the outputs that its model gave, kept beside the model. Data, never code.

A server computes them anew before it is ready. Outputs are kept, and not decisions, so that the rows serve every
decision: what is decided of the kept and of the computed outputs must be the same.
"""

from dataclasses import dataclass

import numpy as np

from sapflow.errors import CorruptObject, DataError
from sapflow.preparation.profile import Profile
from sapflow.preparation.record import Record, joined, parts
from sapflow.serving import input_table
from sapflow.serving.raw_rows import RawRows
from sapflow.serving.served_model import ServedModel

RELATIVE, ABSOLUTE = 1e-5, 1e-5
"""How far outputs may be from those of training: another order of sums, or another CPU, gives less."""
SAME = 1e-6
"""How far features may be: but for `log1p`, on another kind of CPU, they are the same bits."""
SURE = 1e-4
"""Decisions are compared where no output is nearer to another decision than this."""
_ABOUT, _PROFILE = "about", "profile"


class GoldenRowsFailed(DataError):
    """The model does not give what it gave when it was trained."""

    reason = "GoldenRowsFailed"


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
        about = Record({"model": self.model}, {"outputs": self.outputs})
        return joined({_ABOUT: about, _PROFILE: self.profile.record()}).encode()

    @classmethod
    def decode(cls, data: bytes | memoryview, key: str) -> "GoldenRows":
        """The rows of an object. Raises CorruptObject."""
        try:
            found = parts(Record.decode(data, key))
            profile = Profile.of_record(found[_PROFILE], key)
            about = found[_ABOUT]
            outputs = about.arrays["outputs"]
            if len(outputs) != len(profile.rows):
                raise ValueError("it has not as many outputs as rows")
            return cls(profile, outputs, str(about.notes["model"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CorruptObject(f"object {key} holds no golden rows: {error!r}") from error


def replay(golden: GoldenRows, model: ServedModel, sha256: str) -> None:
    """Compute the golden rows anew. Raises GoldenRowsFailed, which names the first row that is not as in training."""
    if golden.model != sha256:
        raise GoldenRowsFailed(
            f"the golden rows are of the model {golden.model[:12]}…, and this is {sha256[:12]}…: put the ones of this "
            "model beside it"
        )
    rows = rows_of(model, golden.profile)
    computed = model.compute(rows)
    if computed.bad:
        raise GoldenRowsFailed(f"golden {computed.bad[0]}; training could use it")
    then_features = golden.profile.features.reshape(computed.features.shape)
    other = ~np.isclose(computed.features, then_features, rtol=SAME, atol=SAME)
    if other.any():
        row = int(other.reshape(len(other), -1).any(axis=1).argmax())
        raise GoldenRowsFailed(f"golden row {row} is prepared to other features than in training")
    far = ~np.isclose(computed.outputs, golden.outputs, rtol=RELATIVE, atol=ABSOLUTE * _scale(golden.outputs))
    if far.any():
        row = int(far.any(axis=1).argmax())
        raise GoldenRowsFailed(
            f"golden row {row} gives the outputs {_few(computed.outputs[row])}, and gave {_few(golden.outputs[row])} "
            "when the model was trained"
        )
    now, then = model.decide(computed.outputs, rows), model.decide(golden.outputs, rows)
    for row, (one, other_one) in enumerate(zip(now, then, strict=True)):
        if one.get("label") != other_one.get("label") and not _is_close_call(model, golden.outputs[row]):
            raise GoldenRowsFailed(f"golden row {row} is decided as {one}, and was as {other_one}")


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
