"""The sources `generated:mnist` and `generated:cifar`: files are rendered in those formats, and read back."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import Field

from sapflow.data.chunks import Chunk, Source
from sapflow.data.files import find_files
from sapflow.data.formats import cifar, idx
from sapflow.data.generate import BATCHES, DEFAULT_SAMPLES, ensure_cifar, ensure_mnist
from sapflow.data.options import Options, parse
from sapflow.errors import DataError


class GeneratedOptions(Options):
    """`samples` is the number of training images; a sixth of that number is for validation."""

    samples: int = Field(DEFAULT_SAMPLES, ge=BATCHES, le=1_000_000)
    seed: int = Field(0, ge=0, lt=2**31)


def source(name: str, options: Mapping[str, object]) -> Source:
    """The set `name`; it is rendered into a temporary folder when it is read. Raises DataError."""
    if name not in ("mnist", "cifar"):
        raise DataError(f"unknown set generated:{name}; there are generated:mnist and generated:cifar")
    chosen = parse(GeneratedOptions, options, f"generated:{name}")

    def chunks() -> Iterator[Chunk]:
        with TemporaryDirectory(prefix="sapflow-generated-") as folder:
            if name == "mnist":
                ensure_mnist(Path(folder), chosen.samples, seed=chosen.seed)
                yield from idx.source(find_files(folder), {}).chunks()
            else:
                ensure_cifar(Path(folder), chosen.samples, seed=chosen.seed)
                yield from cifar.source(find_files(folder), {}).chunks()

    return Source(f"generated:{name}", chunks, task="classification", classes=10, brings_validation=True)
