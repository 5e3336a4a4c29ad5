"""From a document to a server that has replayed its golden rows."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from sapflow.errors import CorruptObject, StoreUnavailable
from sapflow.objects.stores.protocol import Store
from sapflow.serving import golden
from sapflow.serving.app import App
from sapflow.serving.compare import Comparison
from sapflow.serving.files import ModelFiles, fetched
from sapflow.serving.golden import GoldenRows, GoldenRowsFailed
from sapflow.serving.served_model import ServedModel, decode
from sapflow.serving.server import Identity, Server
from sapflow.spec.serving.served import ServedDocument

PAUSE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Opened:
    """A served model and what was checked of it."""

    app: App
    golden_rows: int
    """How many rows were answered as in training; 0 where there are none beside the model."""


def open_app(
    document: ServedDocument,
    store: Store,
    token: Callable[[], str] | None,
    compare: Callable[[], str] | None = None,
    store_seconds: float = 0,
) -> Opened:
    """The application of one version, ready to answer. `token` gives the bearer token, if one is asked for. `compare`
    gives the URL of another version, which may come and go; None: the document's, if it has one. A store that does not
    answer is asked again for `store_seconds`.

    Raises GoldenRowsFailed, DataError, SpecError, StoreError.
    """
    files = _fetched(document, store, store_seconds)
    model = decode(files.model, document.key, files.preparation, document.decision, document.entrypoints)
    rows = _replayed(document, files, model)
    asked = token if document.asks_token else None
    identity = Identity(document.name, document.version, files.sha256)
    server = Server(model, identity, document.limits, document.batch, asked)
    server.metrics.ready = True
    comparison = None
    if compare is None and document.compare_url is not None:
        compare = partial(str, document.compare_url)
    if compare is not None:
        comparison = Comparison(compare, asked, server.metrics)
    return Opened(App(server, comparison), rows)


def _fetched(document: ServedDocument, store: Store, seconds: float) -> ModelFiles:
    until = time.monotonic() + seconds
    while True:
        try:
            return fetched(store, document.key, document.sha256)
        except StoreUnavailable:
            if time.monotonic() >= until:
                raise
            time.sleep(PAUSE_SECONDS)


def _replayed(document: ServedDocument, files: ModelFiles, model: ServedModel) -> int:
    if files.golden is None:
        if document.needs_golden_rows:
            raise GoldenRowsFailed(
                f"there are no golden rows beside {document.key}: a release before this one trained it, or they were "
                "not copied along"
            )
        return 0
    try:
        rows = GoldenRows.decode(files.golden, document.key)
    except CorruptObject as error:
        raise GoldenRowsFailed(str(error)) from error
    golden.with_profile(model, rows.profile)
    golden.replay(rows, model, files.sha256)
    return len(rows.outputs)
