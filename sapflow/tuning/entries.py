"""The entries of a search's log, and how they are written: one JSON mapping each, `{"train": {"trial": 3, "to":
4}}`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sapflow.errors import CorruptObject
from sapflow.messages.message import Message
from sapflow.records.later_release import later_release, unknown_fields
from sapflow.tuning.actions import Deleted, Failed, Finished, Fork, Parameters, Report, Stop, Stopped
from sapflow.tuning.pool_sizes import PoolSizes
from sapflow.tuning.settings import Limits
from sapflow.tuning.usage import Usage


@dataclass(frozen=True, slots=True)
class Asked:
    """The parameters of the next trial are being suggested, from what is known at this place of the log."""

    trial: int


@dataclass(frozen=True, slots=True)
class Begin:
    """A trial exists, with these parameters."""

    trial: int
    parameters: Parameters
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What its sampler must be told again after a restart."""


@dataclass(frozen=True, slots=True)
class Train:
    """A trial is trained until it has done `to` units. In the order of these entries, the decisions are numbered."""

    trial: int
    to: int


@dataclass(frozen=True, slots=True)
class Known:
    """InOrder: from now on the answers to the first `count` decisions are known, and no others."""

    count: int


@dataclass(frozen=True, slots=True)
class End:
    """The search ends; trials that run are interrupted, and go on if a limit is raised."""

    reason: str
    """Completed, GoalReached, TooManyFailed, SamplerFailed, BudgetExceeded or DeadlineExceeded."""
    message: str


@dataclass(frozen=True, slots=True)
class Granted:
    """Calls may cost so many dollars in all, those of earlier drivers included, before more is granted."""

    dollars: float


@dataclass(frozen=True, slots=True)
class Common:
    """Calls that are no trial's have cost so many dollars more: those that cut the data, suggest parameters, or export
    the model."""

    dollars: float


@dataclass(frozen=True, slots=True)
class Sized:
    """Workers are to have another memory size from now on, or keep the best one: the state of the search for it."""

    sizes: PoolSizes


@dataclass(frozen=True, slots=True)
class Warm:
    """The results of an earlier search, which the sampler knows from the start: parameters and objectives."""

    results: tuple[tuple[Parameters, tuple[float, ...]], ...]


Entry = (
    Warm
    | Asked
    | Begin
    | Train
    | Known
    | End
    | Granted
    | Common
    | Sized
    | Fork
    | Stop
    | Limits
    | Report
    | Finished
    | Failed
    | Stopped
    | Deleted
    | Usage
)
KINDS: dict[str, type[Any]] = {
    kind.__name__.lower(): kind
    for kind in (
        Warm, Asked, Begin, Train, Known, End, Granted, Common, Sized, Fork, Stop, Limits, Report,
        Finished, Failed, Stopped, Deleted, Usage,
    )
}  # fmt: skip
_NAMES = {kind: name for name, kind in KINDS.items()}
_ADAPTERS = {name: TypeAdapter(kind) for name, kind in KINDS.items()}
_FIELDS = {name: frozenset(each.name for each in fields(kind)) for name, kind in KINDS.items()}


def body(entry: Entry) -> dict[str, Any]:
    """The entry as a JSON value."""
    values = {each.name: _plain(getattr(entry, each.name)) for each in fields(entry)}
    return {_NAMES[type(entry)]: values}


def read(document: object, key: str) -> Entry:
    """The entry of a JSON value from the object `key`. Raises CorruptObject, and LaterRelease for an entry or a field
    that this release does not know: without it the search would be another one."""
    if not isinstance(document, Mapping) or len(document) != 1:
        raise CorruptObject(f"object {key} has something that is no entry: {str(document)[:200]}")
    ((name, values),) = document.items()
    if name not in _ADAPTERS:
        raise later_release(key, "an entry", [str(name)])
    if isinstance(values, Mapping) and (unknown := values.keys() - _FIELDS[name]):
        raise later_release(key, f"an entry {name} with", map(str, unknown))
    try:
        entry: Entry = _ADAPTERS[name].validate_python(values)
    except ValidationError as error:
        if unknown_inside := unknown_fields(error):
            raise later_release(key, f"an entry {name} with", unknown_inside) from error
        raise CorruptObject(f"object {key} has a wrong entry {name}: {error}") from error
    return entry


def _plain(value: Any) -> Any:
    """The value without numbers that JSON does not have; they are texts that pydantic reads as numbers."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Message):
        return value.body()
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
