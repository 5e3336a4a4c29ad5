"""The packages that raw data is read with, which not every installation has."""

from collections.abc import Iterator
from contextlib import contextmanager

from sapflow.errors import DataError


@contextmanager
def needed_packages() -> Iterator[None]:
    """Make an import that fails within a DataError, which says what to install."""
    try:
        yield
    except ImportError as error:
        raise DataError(
            f"reading raw data needs more packages: pip install 'sapflow[preparer]' ({error})"
        ) from error
