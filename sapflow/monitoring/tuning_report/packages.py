"""The packages that the report of a search needs beside Sapflow's own."""

from sapflow.errors import DataError


def missing(error: ModuleNotFoundError) -> DataError:
    """The error that says which package is missing, and the remedy."""
    return DataError(
        f"the report of a search needs {error.name}, which is not installed: pip install 'sapflow[report]'"
    )
