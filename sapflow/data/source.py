"""Opens sources of samples by their names."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from urllib.parse import parse_qsl

from sapflow.data import bundled, generated, in_memory, synthetic
from sapflow.data.chunks import Source
from sapflow.data.data_file import DataFile
from sapflow.data.files import FindFiles, find_files
from sapflow.data.formats import arrow_tables, cifar, csv_files, idx, npz
from sapflow.data.validation import options_for, refuse_shared, with_validation
from sapflow.errors import DataError
from sapflow.spec.learning import DataSpec

FORMATS: dict[str, Callable[[Sequence[DataFile], Mapping[str, object], Source | None], Source]] = {
    "npz": npz.source,
    "idx": idx.source,
    "cifar": cifar.source,
    "csv": csv_files.csv_source,
    "parquet": arrow_tables.parquet_source,
}
TABLES = ("csv", "parquet")
ENDINGS = {
    ".npz": "npz",
    "-ubyte": "idx",
    "-ubyte.gz": "idx",
    ".bin": "cifar",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".parquet": "parquet",
}


def open_source(
    source: str,
    format: str | None = None,
    *,
    options: Mapping[str, object] | None = None,
    read_s3: FindFiles | None = None,
) -> Source:
    """The source that `source` names. Without `format` the endings of the files' names decide.

    `synthetic:` and `generated:` also take options in the name (`?samples=5000`). `read_s3` finds the files of an
    s3:// location; by default Sapflow's own store does. Samples are checked when the source is read, everything else
    is checked here. Raises DataError.
    """
    given = dict(options or {})
    scheme, _, rest = source.partition(":")
    if scheme == "sklearn":
        return bundled.source(rest, given)
    if scheme in ("synthetic", "generated"):
        name, _, query = rest.partition("?")
        given = {**dict(parse_qsl(query, keep_blank_values=True)), **given}
        return synthetic.source(name, given) if scheme == "synthetic" else generated.source(name, given)
    if scheme == in_memory.SCHEME:
        raise DataError(
            f"{source} was handed over in Python, and its blocks lie only in the store where that job ran: name that "
            "store, run it from Python again, or save the samples to a file (numpy.savez) and name that"
        )
    format, files = used_files(source, format, read_s3)
    return FORMATS[format](files, given, None)


def open_data(data: DataSpec, read_s3: FindFiles | None = None) -> Source:
    """The source that a job names, with its source for validation if it names one. Raises DataError."""
    training = open_source(data.source, data.format, options=data.options, read_s3=read_s3)
    asked = data.validation
    if asked is None:
        return training
    own: str | None = None
    trained_on: list[DataFile] = []
    if has_files(data.source):
        own, trained_on = used_files(data.source, data.format, read_s3)
    with naming("validation.source"):
        format, files = used_files(asked.source, asked.format, read_s3)
    refuse_shared(trained_on, files)
    options = options_for(
        asked.options or {},
        data.options,
        same=format == own,
        tables=format in TABLES and own in TABLES,
    )
    with naming("validation"):
        validation = FORMATS[format](files, options, training)
    return with_validation(training, validation)


@contextmanager
def naming(field: str) -> Iterator[None]:
    """Make every DataError within begin with the field that it is about."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{field}: {error}") from error


def names_files(data: DataSpec) -> bool:
    """Whether some of a job's samples are in files."""
    return has_files(data.source) or (data.validation is not None and has_files(data.validation.source))


def data_files(data: DataSpec, read_s3: FindFiles | None = None) -> list[DataFile]:
    """All files that a job's samples are in, those for validation among them. Raises DataError."""
    files = used_files(data.source, data.format, read_s3)[1] if has_files(data.source) else []
    asked = data.validation
    if asked is not None and has_files(asked.source):
        files += used_files(asked.source, asked.format, read_s3)[1]
    return files


def has_files(source: str) -> bool:
    """Whether a source consists of files."""
    return source.partition(":")[0] not in ("sklearn", "synthetic", "generated", in_memory.SCHEME)


def used_files(
    source: str, format: str | None = None, read_s3: FindFiles | None = None
) -> tuple[str, list[DataFile]]:
    """The format of a source of files, and those files that have samples. Raises DataError."""
    if format is not None and format not in FORMATS:
        raise DataError(f"unknown format {format!r}; formats are {', '.join(FORMATS)}")
    files = find_files(source, read_s3)
    if format is None:
        found = {_format(file) for file in files} - {None}
        if len(found) != 1:
            seen = " and ".join(sorted(map(str, found))) or "unknown"
            raise DataError(
                f"the format of {source} cannot be told from the names of its files ({seen}); "
                f"give data.format: {', '.join(FORMATS)}"
            )
        format = str(found.pop())
        files = [file for file in files if _format(file) == format]
    if format in TABLES:
        # Spark writes an empty part for a task that had no rows.
        files = [file for file in files if file.size] or files
    for file in files:
        if file.size == 0:
            raise DataError(f"{file.name} is empty")
    return format, files


def _format(file: DataFile) -> str | None:
    for ending, format in ENDINGS.items():
        if file.name.endswith(ending):
            return format
    return None
