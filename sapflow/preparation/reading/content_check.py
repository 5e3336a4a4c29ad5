"""Files that are not what their format says: told by their first bytes, and by names that differ from the others'."""

from collections import Counter
from collections.abc import Sequence

from sapflow.data.data_file import DataFile
from sapflow.errors import DataError
from sapflow.preparation.reading.compression import is_packed
from sapflow.preparation.reading.reader import Plan

_PACKED = {b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ\x00": ".xz", b"\x28\xb5\x2f\xfd": ".zst"}
_OTHERS = {
    b"PK\x03\x04": "a zip archive, as Excel's .xlsx is, too: save the table as CSV, or let the name end in .zip",
    b"\xd0\xcf\x11\xe0": "an Excel or another Office file: save the table as CSV",
    b"PAR1": "a Parquet file: say format: parquet",
    b"\x93NUMPY": "an array of numpy: save it as .npz, and say format: npz",
    b"%PDF": "a PDF document",
    b"SQLite format 3": "a database of SQLite: export the table as CSV",
}
_WIDE = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_HEAD = 16


def refuse_other_content(file: DataFile, encoding: str = "utf-8") -> None:
    """Raise DataError where a file that is to be text begins as one of another kind."""
    if file.unpacked or is_packed(file.name):
        return
    with file.open() as stream:
        head = stream.read(_HEAD)
    for mark, ending in _PACKED.items():
        if head.startswith(mark):
            raise DataError(f"{file.name} is packed: give it a name that ends in {ending}, or unpack it")
    for mark, other in _OTHERS.items():
        if head.startswith(mark):
            raise DataError(f"{file.name} is {other}")
    for mark, name in _WIDE.items():
        if head.startswith(mark) and encoding.replace("_", "-").startswith(("utf-8", "ascii")):
            raise DataError(f"{file.name} is text in {name}: say options: encoding: {name}")


def columns_note(files: Sequence[DataFile], plan: Plan) -> str:
    """What to say where a column is not among those that were found: that the first file, which has told them, has no
    header, or is named otherwise than most; else nothing."""
    numbered = ""
    if plan.notes.get("header") is False:
        numbered = (
            f"; columns are numbered, because {files[0].name} is read without a header: if it has one, say options: "
            "header: Present"
        )
    return numbered + _odd(files)


def _odd(files: Sequence[DataFile]) -> str:
    endings = Counter(_ending(file) for file in files)
    most, count = endings.most_common(1)[0]
    first = _ending(files[0])
    if first == most or 2 * count <= len(files):
        return ""
    return (
        f"; these are of {files[0].name}, the first of the source's files, of which {count:,} end in {most}: if it is "
        f"none of them, name the others by a glob, as folder/*{most}"
    )


def _ending(file: DataFile) -> str:
    name, dot, ending = file.base.rpartition(".")
    return f".{ending}" if dot and name else "no ending"
