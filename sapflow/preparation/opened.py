"""A job's preparation as a function opens it: the spec, the files of the source, the reader, the steps."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from sapflow.data import shared_data
from sapflow.data.data_file import DataFile
from sapflow.data.named_file import named_texts
from sapflow.data.source_files import used_files
from sapflow.errors import AlteredObject, CorruptObject, DataError, SpecError
from sapflow.messages.documents import Document
from sapflow.objects import keys
from sapflow.objects.documents import read_document
from sapflow.objects.stores.protocol import Store
from sapflow.preparation.pipeline import Classes, Pipeline, State
from sapflow.preparation.reading.reader import Asked, Plan, Reader
from sapflow.preparation.record import Record
from sapflow.preparation.samples import Samples, samples_of
from sapflow.preparation.step import Schema, Step, StepProblem
from sapflow.spec.job_to_cut import job_to_cut
from sapflow.spec.preparation.prepare import DEFAULT_MISSING, PrepareSpec
from sapflow.spec.resolved import ResolvedJob

KEPT = 8
"""Documents of each kind that a function keeps; one call needs one of each."""
_PREPARE = "spec.data.prepare"
ReaderOf = Callable[[str], Reader]
Steps = Callable[[PrepareSpec, int, Schema, Mapping[str, str]], Sequence[Step]]
"""The steps that a spec asks for, by the seed, the source's columns, and what is in the files that the spec names. The
first deals rows to training and validation."""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Parts:
    """What a preparation is put together of; tests have readers and steps of their own."""

    reader_of: ReaderOf
    steps: Steps
    classes: Classes


@dataclass(frozen=True)
class Opened:
    """A job whose data is prepared."""

    resolved: ResolvedJob
    store: Store
    parts: Parts

    @property
    def prefix(self) -> str:
        """That of its data's keys."""
        return self.resolved.data_prefix

    @property
    def seed(self) -> int:
        return self.resolved.job.spec.algorithm.seed

    @property
    def prepare(self) -> PrepareSpec:
        """Raises DataError if the job has none, because then a preparer was called by mistake."""
        found = self.resolved.job.spec.data.prepare
        if found is None:
            raise DataError(
                f"job {self.resolved.uid} has no spec.data.prepare, so there is nothing to prepare"
            )
        return found

    @property
    def family(self) -> str | None:
        """The family of tasks that the spec asks for."""
        task = self.resolved.job.spec.data.options.get("task")
        return None if task is None else str(task).lower()

    @property
    def asked(self) -> Asked:
        """What the spec says of the source."""
        data, prepare = self.resolved.job.spec.data, self.prepare
        options = {name: value for name, value in data.options.items() if name != "task"}
        return Asked(options, prepare.columns or {}, prepare.missing or DEFAULT_MISSING)

    def files(self) -> tuple[str, list[DataFile]]:
        """The format of the source, and its files as they are now. Raises DataError, StoreError."""
        data = self.resolved.job.spec.data
        return used_files(data.source, data.format, shared_data.finder(self.store.url), raw=True)

    def named_files(self) -> dict[str, str]:
        """What is in the files that steps name. Raises DataError, StoreError."""
        return named_texts(self.prepare.named_files, shared_data.finder(self.store.url))

    @cached_property
    def read_files(self) -> list[DataFile]:
        """The files, listed once for a function."""
        return self.files()[1]

    def pipeline(self, plan: Plan) -> Pipeline:
        """The steps over the plan's columns."""
        with naming(self.prepare):
            steps = self.parts.steps(self.prepare, self.seed, plan.types, plan.named_files)
            return Pipeline(steps, plan.types, deals=True)

    @property
    def rejected(self) -> str:
        """Where bad rows are kept, for messages."""
        return keys.rejected(self.prefix)


class Preparations:
    """Opens preparations for one call after the other, and keeps what several calls need."""

    def __init__(self, store: Store, parts: Parts) -> None:
        self._store, self._parts = store, parts
        self._opened, self._plans = _Kept[Opened](), _Kept[Plan]()
        self._states, self._samples = _Kept[State](), _Kept[Samples]()

    @property
    def store(self) -> Store:
        return self._store

    def opened(self, spec: Document) -> Opened:
        """The job of a spec in the store. Raises AlteredObject, SpecError, StoreError."""

        def read() -> Opened:
            resolved = job_to_cut(read_document(self._store, spec), keys.prefix_of(spec.key))
            return Opened(resolved, self._store, self._parts)

        return self._opened.get(f"{spec.key} {spec.sha256}", read)

    def plan(self, document: Document) -> Plan:
        """A plan in the store. Raises AlteredObject, CorruptObject, StoreError."""

        def read() -> Plan:
            try:
                return Plan.model_validate(read_document(self._store, document))
            except ValidationError as error:
                raise CorruptObject(f"object {document.key} is no plan of this release: {error}") from error

        return self._plans.get(document.sha256, read)

    def state(self, document: Document) -> State:
        """A state in the store. Raises AlteredObject, CorruptObject, StoreError."""
        return self._states.get(
            document.sha256,
            lambda: State.of_record(read_record(self._store, document), self._parts.classes),
        )

    def samples(self, opened: Opened, plan: Plan, document: Document) -> Samples:
        """How samples are made, where all steps of the state are fitted. Raises SpecError."""

        def find() -> Samples:
            with naming(opened.prepare):
                schema = opened.pipeline(plan).schema(self.state(document))
                return samples_of(schema, opened.prepare.target)

        return self._samples.get(document.sha256, find)


class _Kept(Generic[Value]):
    """The values that were asked for last."""

    def __init__(self) -> None:
        self._values: OrderedDict[str, Value] = OrderedDict()

    def get(self, name: str, make: Callable[[], Value]) -> Value:
        if name not in self._values:
            self._values[name] = make()
            if len(self._values) > KEPT:
                self._values.popitem(last=False)
        self._values.move_to_end(name)
        return self._values[name]


def read_record(store: Store, document: Document) -> Record:
    """The record that a document names. Raises AlteredObject if it is another one, CorruptObject, StoreError."""
    data = bytes(store.read(document.key))
    found = hashlib.sha256(data).hexdigest()
    if found != document.sha256:
        raise AlteredObject(
            f"object {document.key} is not the one that the preparation has written (its SHA-256 is {found[:16]}…, not "
            f"{document.sha256[:16]}…): somebody has replaced it, and nothing of it is used. Find out who else may "
            "write to the bucket, and start the job anew"
        )
    return Record.decode(data, document.key)


def write_once(store: Store, key: str, data: bytes) -> Document:
    """Write an object, unless another function has; what stands there. Raises CorruptObject if that is another one."""
    put_once(store, key, data)
    return Document.of(key, data)


def put_once(store: Store, key: str, data: bytes) -> None:
    """`write_once` of an object that nothing names by its digest. Raises CorruptObject.

    It need not survive a power failure: what lacks then is made again.
    """
    if not store.create(key, data) and bytes(store.read(key)) != data:
        raise CorruptObject(
            f"object {key} of an interrupted preparation differs from what the source gives now, because the source or "
            "the release has changed; begin the job anew"
        )


def write_plan(store: Store, key: str, plan: Plan) -> Document:
    """Write how a source is read, as `write_once` does."""
    return write_once(store, key, json.dumps(plan.model_dump(mode="json"), sort_keys=True).encode())


@contextmanager
def naming(prepare: PrepareSpec, note: str = "") -> Iterator[None]:
    """Make every StepProblem within a SpecError that names the field of the spec; `note` is added to it."""
    try:
        yield
    except StepProblem as problem:
        raise SpecError([(path_of(problem.field, prepare), f"{problem}{note}")]) from problem


def path_of(field: str, prepare: PrepareSpec) -> str:
    """The field of the spec that the field of a problem is: `3.columns` of the third step but the one that deals."""
    first, _, rest = field.partition(".")
    if not first.isdecimal():
        return f"{_PREPARE}.{field}" if field else _PREPARE
    place = int(first) - 1
    if place < 0:
        return f"{_PREPARE}.split" + (f".{rest}" if rest else "")
    items = prepare.steps or []
    key = next(iter(items[place].given), "") if place < len(items) else ""
    return ".".join(each for each in (f"{_PREPARE}.steps[{place}]", key, rest) if each)


def in_words(pipeline: Pipeline, state: State, prepare: PrepareSpec) -> list[str]:
    """The steps that learn in the coming pass."""
    items: Sequence[Any] = prepare.steps or []
    found = []
    for number in pipeline.learning(state):
        place = number - 1
        found.append("split" if place < 0 else f"{next(iter(items[place].given))} (step {place + 1})")
    return found
