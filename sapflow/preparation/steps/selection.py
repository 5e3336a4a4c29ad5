"""Select, drop and rename: which columns there are, and what they are called."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from sapflow.preparation.batch import Batch
from sapflow.preparation.record import Record
from sapflow.preparation.step import Applied, Fitted, Schema, Step, StepProblem
from sapflow.preparation.steps.columns import one, resolve
from sapflow.spec.preparation.table_steps import DropSpec, RenameSpec, SelectSpec


@dataclass(frozen=True, slots=True)
class SelectStep(Step):
    """Keeps some columns."""

    spec: SelectSpec

    def begin(self, given: Schema) -> Fitted:
        kept = resolve(self.spec.columns, given)
        return Dropped(tuple(name for name in given if name not in kept))


@dataclass(frozen=True, slots=True)
class DropStep(Step):
    """Removes some columns."""

    spec: DropSpec

    def begin(self, given: Schema) -> Fitted:
        return Dropped(resolve(self.spec.columns, given))


@dataclass(frozen=True, slots=True)
class Dropped(Fitted):
    """Removes the columns of these names."""

    name: ClassVar[str] = "drop"
    columns: tuple[str, ...]

    def reads(self) -> Sequence[str]:
        return ()

    def writes(self) -> Sequence[str]:
        return self.columns

    def schema(self, given: Schema) -> Schema:
        return {name: column for name, column in given.items() if name not in self.columns}

    def apply(self, batch: Batch) -> Applied:
        return Applied(batch.without(self.columns))

    def record(self) -> Record:
        return Record({"columns": list(self.columns)})

    @classmethod
    def of_record(cls, record: Record) -> "Dropped":
        return cls(tuple(record.notes["columns"]))


@dataclass(frozen=True, slots=True)
class RenameStep(Step):
    """Gives columns other names."""

    spec: RenameSpec

    def begin(self, given: Schema) -> Fitted:
        names = {one(old, given, field="names"): new for old, new in self.spec.names.items()}
        renamed = Counter(names.get(name, name) for name in given)
        for new in names.values():
            if renamed[new] > 1:
                raise StepProblem(f"two columns would be called {new}: rename or drop one of them", "names")
        return Renamed(names)


@dataclass(frozen=True, slots=True)
class Renamed(Fitted):
    """Columns under other names, in their places."""

    name: ClassVar[str] = "rename"
    names: Mapping[str, str]

    def reads(self) -> Sequence[str]:
        return tuple(self.names)

    def writes(self) -> Sequence[str]:
        return (*self.names, *self.names.values())

    def schema(self, given: Schema) -> Schema:
        return {self.names.get(name, name): column for name, column in given.items()}

    def apply(self, batch: Batch) -> Applied:
        columns = {self.names.get(name, name): column for name, column in batch.columns.items()}
        return Applied(replace(batch, columns=columns))

    def record(self) -> Record:
        return Record({"names": [list(pair) for pair in self.names.items()]})

    @classmethod
    def of_record(cls, record: Record) -> "Renamed":
        return cls(dict(record.notes["names"]))
