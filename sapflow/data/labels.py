"""Labels that are words: how they are found in a source, and how they become class numbers."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from sapflow.errors import DataError
from sapflow.tasks.classification import MAX_CLASSES

MAX_CHARACTERS = 1 << 20
"""The most characters of all labels together; they are kept beside the data and in the model."""


def are_words(targets: np.ndarray) -> bool:
    """Whether targets are text. Text that pandas or Arrow holds comes as objects."""
    if targets.dtype.kind == "O":
        return targets.ndim == 1 and len(targets) > 0 and all(isinstance(each, str) for each in targets)
    return targets.dtype.kind == "U"


def found(batches: Iterable[np.ndarray]) -> tuple[str, ...]:
    """All different words in batches of targets, sorted. Raises DataError: one only, or too many to be classes."""
    words: set[str] = set()
    for targets in batches:
        words.update(map(str, np.unique(targets.astype(str))))
        if len(words) > MAX_CLASSES or sum(map(len, words)) > MAX_CHARACTERS:
            raise DataError(
                f"the targets are text of more than {len(words) - 1:,} kinds ({some(sorted(words))}); there can be "
                f"{MAX_CLASSES:,} classes, with names of {MAX_CHARACTERS:,} characters in all"
            )
    if len(words) < 2:
        raise DataError(f"all labels are {some(sorted(words))}; a class needs another beside it")
    return tuple(sorted(words))


def numbered(
    words: np.ndarray, names: Sequence[str], where: Callable[[int], str], *, listed: bool = True
) -> np.ndarray:
    """The place of each word among `names`, int32 [n]. Raises DataError, which begins with `where(index)`.

    `listed`: whether the names are those that options list, or else those of the training samples.
    """
    numbers = {name: number for number, name in enumerate(names)}
    asked = list(map(as_word, words.tolist()))
    for index, word in enumerate(asked):
        if word not in numbers:
            known = "is not in options: classes:" if listed else "is that of no training sample; those have"
            remedy = (
                ""
                if listed
                else ": mend it, add training samples of it, or list all in data.options: classes"
            )
            raise DataError(f"{where(index)}: the label {word!r} {known} {', '.join(names[:50])}{remedy}")
    return np.array([numbers[word] for word in asked], dtype=np.int32)


def as_word(label: object) -> str:
    """A label as it is written in a list of classes: 1 and 1.0 are the word 1."""
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


def some(words: Sequence[str]) -> str:
    """The first words, for a message."""
    few = [repr(word if len(word) <= 40 else f"{word[:40]}…") for word in words[:5]]
    return ", ".join(few) + (" …" if len(words) > 5 else "")
