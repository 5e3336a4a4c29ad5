"""Columns that stand in the names of folders: `year=2013/month=1/part-0.parquet`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

import numpy as np

from sapflow.data.data_file import DataFile
from sapflow.data.formats.header import is_number
from sapflow.errors import DataError
from sapflow.preparation.batch import Column, Kind, Text

_NONE = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, slots=True)
class HiveColumns:
    """The columns in their order, and each file's values; None is missing."""

    names: tuple[str, ...]
    values: Mapping[str, tuple[str | None, ...]]

    def kinds(self, declared: Mapping[str, Kind]) -> dict[str, Kind]:
        """What they are read as: numbers if all are, else text. Raises DataError where another type is declared."""
        found: dict[str, Kind] = {}
        for place, name in enumerate(self.names):
            values = [each[place] for each in self.values.values() if each[place] is not None]
            numbers = bool(values) and all(
                is_number(each) and np.isfinite(float(each)) for each in values if each
            )
            kind = declared.get(name, "Number" if numbers else "Text")
            if kind not in ("Number", "Text") or (kind == "Number" and not numbers):
                raise DataError(
                    f"column {name} stands in the names of folders, with values such as "
                    f"{values[0] if values else None}, and cannot be read as {kind}: declare it as Text"
                )
            found[name] = kind
        return found

    def column(self, file: DataFile, name: str, kind: Kind, rows: int) -> Column:
        """A file's column."""
        value = self.values[file.name][self.names.index(name)]
        if kind == "Number":
            return np.full(rows, np.nan if value is None else float(value))
        return Text(np.full(rows, -1 if value is None else 0, np.int32), () if value is None else (value,))


def hive_columns(files: Sequence[DataFile], declared: Collection[str]) -> HiveColumns:
    """The columns in the names of folders below the one that all files are in, and those above that are `declared`.

    Raises DataError where files have different ones.
    """
    folders = [file.name.split("/")[:-1] for file in files]
    common = len(folders[0]) if len(files) == 1 else 0
    while len(files) > 1 and all(
        len(each) > common and each[common] == folders[0][common] for each in folders
    ):
        common += 1
    pairs: list[list[tuple[str, str]]] = []
    for place, parts in enumerate(folders):
        found = [
            (unquote(key), unquote(value))
            for at, (key, sign, value) in enumerate(part.partition("=") for part in parts)
            if sign and key and (at >= common or unquote(key) in declared)
        ]
        if place and [key for key, _ in found] != [key for key, _ in pairs[0]]:
            raise DataError(
                f"{files[place].name} has the columns {[key for key, _ in found]} in the names of its folders, and "
                f"{files[0].name} has {[key for key, _ in pairs[0]]}: all files of a source have the same"
            )
        pairs.append(found)
    names = tuple(key for key, _ in pairs[0])
    return HiveColumns(
        names,
        {
            file.name: tuple(None if value == _NONE else value for _, value in found)
            for file, found in zip(files, pairs, strict=True)
        },
    )
