"""DuckDB as it reads tables here, and what is written in its SQL."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

MEMORY_LIMIT = "192MiB"


def connect() -> "duckdb.DuckDBPyConnection":
    """DuckDB with one thread and bounded memory, which writes no files, loads no extension and keeps time in UTC."""
    import duckdb  # large, and of use for tables alone

    connection = duckdb.connect(
        ":memory:",
        config={
            "threads": 1,
            "memory_limit": MEMORY_LIMIT,
            "temp_directory": "",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        },
    )
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")
    return connection


def quoted(text: str) -> str:
    """Text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def name_of(column: str) -> str:
    """A column's name as SQL writes it."""
    return '"' + column.replace('"', '""') + '"'


def time_of(text: str) -> str:
    """The time that a text says in ISO 8601, in UTC; null if it says none."""
    # Without the pattern 13/01/02 would be a day of the year 13, and `epoch` a time.
    return f"(CASE WHEN {text} LIKE '____-%' THEN TRY_CAST({text} AS TIMESTAMPTZ) END)"
