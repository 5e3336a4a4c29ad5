"""What the files of a source were when they were cut, and which of them differ now.

    <prefix>source.json    {"files": [{"name", "size", "tag", "sha256"}]}

`tag` changes with every write of the file: the ETag of an object, or the times and number of a local file. Where it
and the size are the same, so is the content. Where it differs, the contents of local files are hashed and compared; an
object whose ETag differs is another one.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from pydantic import ValidationError

from sapflow.data.data_file import DataFile
from sapflow.errors import CorruptObject, ObjectMissing
from sapflow.messages.message import Message
from sapflow.objects.stores.protocol import Store

_PIECE = 1 << 20


class CutFile(Message):
    """A file as it was when its samples were cut."""

    name: str
    size: int
    tag: str
    sha256: str | None = None
    """Of local files."""


class CutFiles(Message):
    """All files of a source."""

    files: list[CutFile]

    def encode(self) -> bytes:
        return json.dumps(self.body(), sort_keys=True, indent=1).encode()


def source_key(prefix: str) -> str:
    """The key of the record, below the prefix of the job's data."""
    return f"{prefix}source.json"


def read(store: Store, prefix: str) -> CutFiles | None:
    """The record, or None if there is none: the source has no files, or nothing was cut. Raises CorruptObject."""
    key = source_key(prefix)
    try:
        return CutFiles.model_validate_json(bytes(store.read(key)))
    except ObjectMissing:
        return None
    except ValidationError as error:
        raise CorruptObject(f"object {key} is no record of a source's files: {error}") from error


def describe(files: Sequence[DataFile]) -> CutFiles:
    """The record of the files as they are now. Local ones are read once."""
    return CutFiles(
        files=[
            CutFile(
                name=file.name, size=file.size, tag=file.tag, sha256=_hashed(file) if file.local else None
            )
            for file in files
        ]
    )


def differences(before: CutFiles, files: Sequence[DataFile]) -> list[str]:
    """The files that differ from the record, in words."""
    known = {file.name: file for file in before.files}
    words = []
    for file in files:
        was = known.pop(file.name, None)
        if was is None:
            words.append(f"{file.name} (new)")
        elif was.size != file.size:
            words.append(f"{file.name} ({was.size:,} bytes then, {file.size:,} now)")
        elif was.tag != file.tag and (was.sha256 is None or was.sha256 != _hashed(file)):
            words.append(f"{file.name} (changed)")
    return words + [f"{name} (gone)" for name in known]


def _hashed(file: DataFile) -> str:
    digest = hashlib.sha256()
    with file.open() as stream:
        for piece in _pieces(stream):
            digest.update(piece)
    return digest.hexdigest()


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: stream.read(_PIECE), b"")
