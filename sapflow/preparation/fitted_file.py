"""The fitted preparation in the bytes of its file, as a model names it."""

from sapflow.errors import CorruptObject, DataError
from sapflow.preparation.fitted import FittedPreparation, digest
from sapflow.preparation.record import Record
from sapflow.preparation.steps.registry import CLASSES


def of_file(content: bytes, named: str, name: str) -> FittedPreparation:
    """The preparation; `named` is the SHA-256 that the model says, `name` the file's for messages. Raises DataError."""
    if digest(content) != named:
        raise DataError(
            f"{name} is not the preparation that the model was trained with: put that one beside the model"
        )
    try:
        return FittedPreparation.of_record(Record.decode(content, name), CLASSES)
    except CorruptObject as error:
        raise DataError(f"{name} is no preparation of this release's: {error}") from error
