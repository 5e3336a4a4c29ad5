"""A source of its own for the samples that evaluations take, beside the source of those that are trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sapflow.data.chunks import Source
from sapflow.data.data_file import DataFile
from sapflow.errors import DataError

_OF_TRAINING = ("task", "classes")
"""Options of every format that say what is learnt: they are those of the training samples."""
_OF_TABLES = ("target", "targets", "group")


def options_for(
    asked: Mapping[str, object], training: Mapping[str, object], *, same: bool, tables: bool
) -> dict[str, object]:
    """The options of a source for validation: those of the source for training, but what `asked` says otherwise.

    `same`: both have one format; `tables`: both are tables. Of another format only those options are taken over that
    say what is learnt. Raises DataError if `asked` says what is learnt, too.
    """
    learnt = (*_OF_TRAINING, *_OF_TABLES) if tables else _OF_TRAINING
    for name in learnt:
        if name in asked:
            raise DataError(
                f"validation.options: {name} is that of data.options, because what is learnt is evaluated: leave "
                "it out" + (", and give columns the names that they have in data.source" if tables else "")
            )
    kept = training if same else {name: value for name, value in training.items() if name in learnt}
    return {**kept, **asked}


def with_validation(training: Source, validation: Source) -> Source:
    """The source `training`, its validation samples those of `validation`.

    Raises DataError if one of them has samples of both parts, because it is not clear then which are meant.
    """
    if training.brings_validation:
        raise DataError(
            f"{training.name} brings a validation set of its own: leave data.validation out, or name the files without "
            "that set in data.source"
        )
    if validation.brings_validation:
        raise DataError(
            f"validation: {validation.name} holds a training set and a validation set: name the files of the one "
            "that is meant"
        )
    return replace(training, validation=validation, brings_validation=True)


def refuse_shared(training: Sequence[DataFile], validation: Sequence[DataFile]) -> None:
    """Raise DataError if a file is in both sources: a model would be evaluated on what it was trained on."""
    known = set(map(_identity, training))
    shared = [file.name for file in validation if _identity(file) in known]
    if shared:
        more = f" and {len(shared) - 5} more" if len(shared) > 5 else ""
        raise DataError(
            f"{', '.join(shared[:5])}{more}: in data.source and in data.validation, so a model would be evaluated on "
            "what it was trained on: move the files of one of them to a folder of their own"
        )


def _identity(file: DataFile) -> tuple[str, str]:
    """What is the same for one file under two names. Buckets of two stores may have one name, so the tag counts."""
    return (str(Path(file.name).resolve()) if file.local else file.name), file.tag
