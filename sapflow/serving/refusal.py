"""Requests that are refused: what is wrong with them, where, and with which status of HTTP."""

from dataclasses import dataclass

from sapflow.errors import SapflowError

SHOWN = 80
"""So many characters of a value are in messages."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used, from 0 in its request. `column` is empty where the row as such is wrong."""

    row: int
    column: str
    reason: str

    def __str__(self) -> str:
        column = f", column {self.column}" if self.column else ""
        return f"row {self.row}{column}: {self.reason}"


class Refused(SapflowError):
    """The server does not answer a request. `status` is HTTP's, `reason` a stable word."""

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        *,
        rows: tuple[BadRow, ...] = (),
        retryable: bool = False,
    ) -> None:
        super().__init__(message)
        self.status, self.reason, self.rows, self.retryable = status, reason, rows, retryable


def bad_rows(found: list[BadRow]) -> Refused:
    """The refusal of a request with such rows."""
    ordered = sorted(found, key=lambda each: (each.row, each.column))
    more = f"; and {len(ordered) - 5:,} more" if len(ordered) > 5 else ""
    told = "; ".join(map(str, ordered[:5]))
    return Refused(422, "BadRows", f"{told}{more} (the first row is 0)", rows=tuple(ordered[:100]))


def bad_request(message: str) -> Refused:
    """The refusal of a request that has not the form of one."""
    return Refused(400, "BadRequest", message)


def shown(value: object) -> str:
    """A value of a request, cut off, for messages."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
