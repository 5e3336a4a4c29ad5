"""A server begins beside a store that does not answer yet."""

from pathlib import Path

import pytest
from helpers.away_store import AwayStore, Outage
from helpers.served import late_files
from helpers.server_process import document

from sapflow.errors import StoreUnavailable
from sapflow.objects.stores.factory import open_store
from sapflow.serving.opened import open_app
from sapflow.spec.serving.served import ServedDocument


@pytest.fixture
def url(tmp_path: Path) -> str:
    return late_files(tmp_path).write(tmp_path / "served").parent.as_uri()


def test_a_store_that_does_not_answer_at_first_is_asked_again(url: str) -> None:
    store = AwayStore(open_store(url), [Outage(0, 3)])
    opened = open_app(ServedDocument.model_validate(document()), store, None, store_seconds=30)
    assert opened.app.server.metrics.ready
    assert store.asked > 3


def test_a_store_that_never_answers_ends_the_start(url: str) -> None:
    store = AwayStore(open_store(url), [Outage(0, 1_000_000)])
    with pytest.raises(StoreUnavailable, match="does not answer"):
        open_app(ServedDocument.model_validate(document()), store, None, store_seconds=0.2)
    assert store.asked >= 2
