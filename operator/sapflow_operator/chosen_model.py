"""The model that a ModelService serves: where its file is, and what the file says of it."""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sapflow.objects import keys

_MODEL = ".safetensors"


@dataclass(frozen=True, slots=True)
class ChosenModel:
    """One model file, and what a process needs that serves it."""

    uri: str
    """`s3://bucket/key`, without options."""
    sha256: str
    source: str
    """What named it: `TrainingJob/flights`, `TuningJob/search`, or its URI."""
    torch: bool
    """Whether torch is needed to compute it."""
    entrypoint: str | None = None
    """Code that its file names, where its job, or the service, consents to it."""
    image: str | None = None
    """The user's image, which has that code."""

    @property
    def bucket(self) -> str:
        return urlsplit(self.uri).netloc

    @property
    def key(self) -> str:
        return urlsplit(self.uri).path.lstrip("/")

    @property
    def readable(self) -> tuple[str, ...]:
        """The keys that its server reads, or patterns of them: those of its folder, at the top of a bucket the file and
        what lies beside it under its name."""
        folder, name = posixpath.split(self.key)
        if folder:
            return (f"{folder}/*",)
        stem = name.removesuffix(_MODEL)
        beside = (keys.fitted_preparation(""), keys.GOLDEN_ROWS)
        return (name, *beside, *(f"{stem}.{each}" for each in beside))

    def to_status(self) -> dict[str, Any]:
        """`status.model`; `of_status` reads it back."""
        found = {"uri": self.uri, "sha256": self.sha256, "source": self.source, "torch": self.torch}
        own = {"entrypoint": self.entrypoint, "image": self.image}
        return found | {name: value for name, value in own.items() if value is not None}

    @classmethod
    def of_status(cls, status: Mapping[str, Any]) -> "ChosenModel":
        """The model of a `status.model`."""
        return cls(
            status["uri"],
            status["sha256"],
            status["source"],
            status["torch"],
            status.get("entrypoint"),
            status.get("image"),
        )
