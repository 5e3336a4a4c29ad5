"""Opens sources of samples by their names."""

from collections.abc import Callable, Mapping, Sequence
from urllib.parse import parse_qsl

from sapflow.data import bundled, generated, in_memory, synthetic
from sapflow.data.chunks import Source
from sapflow.data.data_file import DataFile
from sapflow.data.files import FindFiles
from sapflow.data.formats import arrow_tables, cifar, csv_files, idx, npz
from sapflow.data.source_files import TABLES, has_files, naming, used_files
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
