"""The settings of a function's process: from its environment, and from flags if a local parent starts it.

An OpenWhisk action gets only its parameters, by `/init`; settings that its environment lacks are read from there.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from sapflow.errors import SpecError
from sapflow.logs import LEVELS
from sapflow.mounted import MountedFiles
from sapflow.objects.stores.credentials import CredentialSource
from sapflow.objects.stores.factory import credentials_for

OPENWHISK = "__OW_API_HOST"
"""A variable that is set in every OpenWhisk container."""


Problems = list[tuple[str, str]]
"""Variables, and what is wrong with each."""
STORE_MISSING = ("SAPFLOW_STORE", "is not set: give the URL of the store, file:///… or s3://…")


class ProcessFields(TypedDict):
    """What the settings of every process have."""

    port: int
    host: str
    uds: str | None
    lifeline: int | None
    log_level: str
    grace_seconds: float


def read_process(argv: Sequence[str], environ: Mapping[str, str], problems: Problems) -> ProcessFields:
    """Where a process listens, how it logs, and how long it has to end. Adds to `problems`, with which the fields are
    of no use."""
    flags = parser().parse_args(argv)
    port = environ.get("PORT", "8080") if flags.port is None else flags.port
    if not is_port(port):
        problems.append(("PORT", bad_port(port)))
    level = environ.get("SAPFLOW_LOG_LEVEL", "INFO").upper()
    if level not in LEVELS:
        problems.append(("SAPFLOW_LOG_LEVEL", f"is {level!r}: give one of {', '.join(LEVELS)}"))
    grace = environ.get("SAPFLOW_GRACE_SECONDS", "20")
    if not grace.replace(".", "", 1).isdecimal():
        problems.append(("SAPFLOW_GRACE_SECONDS", f"is {grace!r}: give seconds, such as 20"))
    return {
        "port": 0 if problems else int(port),
        "host": flags.host,
        "uds": flags.uds,
        "lifeline": flags.lifeline,
        "log_level": level,
        "grace_seconds": 0.0 if problems else float(grace),
    }


def is_port(text: str) -> bool:
    return text.isdecimal() and int(text) <= 65535


def bad_port(text: str) -> str:
    return f"is {text!r}: give a number from 0 to 65535"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that a function knows before its first request. Nothing in it depends on a job."""

    token: Callable[[], str] = field(repr=False)
    """Returns the pool's current token; '' as long as nobody may call."""
    store: str
    """The URL of the store; '' if `/init` is yet to give it."""
    credentials: CredentialSource | None = field(repr=False)
    port: int
    host: str = "0.0.0.0"
    uds: str | None = None
    lifeline: int | None = None
    log_level: str = "INFO"
    grace_seconds: float = 20.0
    memory_bytes: int | None = None
    """The function's memory limit, if the platform tells it."""
    cell: tuple[int, str, str] | None = None
    """For placed jobs: the number of the function's cell, the mount point of its volume, and its node."""
    runs_on: bool = True
    """Whether the process also runs between calls; OpenWhisk freezes its containers there."""
    revision: str | None = None
    """The Knative Revision that the process is an instance of; Knative sets it."""

    @classmethod
    def read(cls, argv: Sequence[str], environ: Mapping[str, str]) -> "Settings":
        """Read the settings. Raises SpecError, which names every variable that is missing or wrong."""
        problems: Problems = []
        store = environ.get("SAPFLOW_STORE", "")
        awaits_init = OPENWHISK in environ and not store
        token = _nobody if awaits_init else _token(environ, problems)
        if not store and not awaits_init:
            problems.append(STORE_MISSING)
        process = read_process(argv, environ, problems)
        memory = environ.get("SAPFLOW_MEMORY_BYTES")
        if memory is not None and not memory.isdecimal():
            problems.append(("SAPFLOW_MEMORY_BYTES", f"is {memory!r}: give the memory limit in bytes"))
        cell = _cell(environ, problems)
        if problems:
            raise SpecError(problems)
        return cls(
            token=token,
            store=store,
            credentials=credentials_for(store, environ),
            **process,
            memory_bytes=None if memory is None else int(memory),
            cell=cell,
            runs_on=OPENWHISK not in environ,
            revision=environ.get("K_REVISION") or None,
        )


def parser() -> argparse.ArgumentParser:
    """The flags that say where a process listens."""
    parser = argparse.ArgumentParser(
        description="A Sapflow function. Listens on PORT (8080) unless told otherwise."
    )
    parser.add_argument("--uds", metavar="PATH", help="listen on this Unix socket")
    parser.add_argument("--port", help="listen on this TCP port; 0: any free one")
    parser.add_argument("--host", default="0.0.0.0", help="listen on this address (default: %(default)s)")
    parser.add_argument(
        "--lifeline",
        type=int,
        metavar="FD",
        help="inherited socket to the parent: readiness is written to it, and its end ends this process",
    )
    return parser


def _cell(environ: Mapping[str, str], problems: Problems) -> tuple[int, str, str] | None:
    number, directory = environ.get("SAPFLOW_CELL", ""), environ.get("SAPFLOW_CELL_DIRECTORY", "")
    if not number and not directory:
        return None
    if not number.isdecimal():
        problems.append(("SAPFLOW_CELL", f"is {number!r}: give the number of the function's cell, from 0"))
        return None
    if not directory:
        problems.append(("SAPFLOW_CELL_DIRECTORY", "is not set: say where the volume of the cell is mounted"))
    return int(number), directory, environ.get("SAPFLOW_NODE", "")


def _token(environ: Mapping[str, str], problems: Problems) -> Callable[[], str]:
    token = environ.get("SAPFLOW_TOKEN", "")
    path = environ.get("SAPFLOW_TOKEN_FILE")
    if path and not token:
        try:
            files = MountedFiles([path])
        except (OSError, UnicodeDecodeError) as error:
            problems.append(("SAPFLOW_TOKEN_FILE", f"cannot be read: {error}"))
            return _nobody
        if files.texts()[0]:
            return lambda: files.texts()[0]
    if not token:
        problems.append(
            (
                "SAPFLOW_TOKEN",
                "is not set: a function answers only callers that hold its pool's token; set it",
            )
        )
    return lambda: token


def _nobody() -> str:
    return ""
