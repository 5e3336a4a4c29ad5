"""The settings of a serving process: from its environment, and from flags if a local parent starts it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from sapflow.errors import SpecError
from sapflow.mounted import MountedFiles
from sapflow.objects.stores.credentials import CredentialSource
from sapflow.objects.stores.factory import credentials_for
from sapflow.spec.serving.served import ServedDocument
from sapflow.text import parse_json
from sapflow_functions.settings import STORE_MISSING, Problems, bad_port, is_port, read_process

SERVICE_FILE = "SAPFLOW_SERVICE_FILE"
"""The variable with the path of the document that says what is served."""
HTTP_PORT = "SAPFLOW_HTTP_PORT"
"""The variable with the port of HTTP, where it is not PORT."""
TOKEN_FILE = "SAPFLOW_TOKEN_FILE"
COMPARE_FILE = "SAPFLOW_COMPARE_URL_FILE"
"""The variable with the path of a file that has the URL of another version, and may change; empty: there is none."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Everything that a serving process knows before its first request."""

    document: ServedDocument
    store: str
    credentials: CredentialSource | None = field(repr=False)
    token: Callable[[], str] | None = field(repr=False)
    compare: Callable[[], str] | None
    """The URL of another version, '' while there is none."""
    port: int
    host: str = "0.0.0.0"
    uds: str | None = None
    lifeline: int | None = None
    log_level: str = "INFO"
    grace_seconds: float = 20.0
    grpc_port: int | None = None
    """Where the Open Inference Protocol is served over gRPC, too; None: nowhere. 0: any free one."""

    @classmethod
    def read(cls, argv: Sequence[str], environ: Mapping[str, str]) -> "ServerSettings":
        """Read the settings. Raises SpecError, which names every variable that is missing or wrong."""
        problems: Problems = []
        document = _document(environ, problems)
        store = environ.get("SAPFLOW_STORE", "")
        if not store:
            problems.append(STORE_MISSING)
        # Knative gives PORT the port of requests, which may speak gRPC.
        http_port = environ.get(HTTP_PORT)
        process = read_process(
            argv, environ if http_port is None else {**environ, "PORT": http_port}, problems
        )
        grpc_port = environ.get("SAPFLOW_GRPC_PORT", "")
        if grpc_port and not is_port(grpc_port):
            problems.append(("SAPFLOW_GRPC_PORT", bad_port(grpc_port)))
        token = _token(environ, problems) if document is not None and document.asks_token else None
        compare = _mounted_text(COMPARE_FILE, environ, problems) if COMPARE_FILE in environ else None
        if problems or document is None:
            raise SpecError(problems)
        return cls(
            document=document,
            store=store,
            credentials=credentials_for(store, environ),
            token=token,
            compare=compare,
            grpc_port=int(grpc_port) if grpc_port else None,
            **process,
        )


def _document(environ: Mapping[str, str], problems: Problems) -> ServedDocument | None:
    path = environ.get(SERVICE_FILE)
    if not path:
        problems.append((SERVICE_FILE, "is not set: give the path of the document that says what is served"))
        return None
    try:
        return ServedDocument.model_validate(parse_json(Path(path).read_bytes()))
    except OSError as error:
        problems.append((SERVICE_FILE, f"cannot be read: {error}"))
    except ValidationError as error:
        problems += [
            (SERVICE_FILE, f"{'.'.join(map(str, each['loc']))}: {each['msg']}") for each in error.errors()
        ]
    except ValueError as error:
        problems.append((SERVICE_FILE, f"is no JSON: {error}"))
    return None


def _token(environ: Mapping[str, str], problems: Problems) -> Callable[[], str] | None:
    if token := environ.get("SAPFLOW_TOKEN"):
        return lambda: token
    if not environ.get(TOKEN_FILE):
        problems.append((TOKEN_FILE, "is not set, and the service asks for a token: give the file with it"))
        return None
    return _mounted_text(TOKEN_FILE, environ, problems)


def _mounted_text(variable: str, environ: Mapping[str, str], problems: Problems) -> Callable[[], str] | None:
    """The text of the file that a variable names, as it is at any time."""
    try:
        files = MountedFiles([environ[variable]])
    except (OSError, UnicodeDecodeError) as error:
        problems.append((variable, f"cannot be read: {error}"))
        return None
    return lambda: files.texts()[0].strip()
