"""What the operator makes of a store's answers when it asks for credentials."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from helpers.memory_cluster import MemoryCluster
from helpers.operator_settings import SETTINGS
from helpers.quiet_server import QuietServer

from sapflow.errors import CorruptObject, StoreUnavailable
from sapflow.objects import keys
from sapflow.objects.stores.credentials import Credentials
from sapflow.objects.stores.factory import open_store
from sapflow_operator import cells, names
from sapflow_operator.errors import CredentialsRefused, SecretUnusable
from sapflow_operator.store import objects
from sapflow_operator.store.credentials import Issuer
from sapflow_operator.store.owners import owner_of
from sapflow_operator.wanted import Place

OWNER = Credentials("owner", "0" * 32)
Answer = tuple[int, bytes]


@contextmanager
def issuer(sts: Answer, admin: Answer, *, share: bool = False) -> Iterator[Issuer]:
    """An issuer whose store answers so to AssumeRole, and so to its admin API."""

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, body = admin if "/minio/admin/" in self.path else sts
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PUT = do_DELETE = _handle

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = QuietServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        yield Issuer(Place(url, "bucket", "us-east-1", share=share), OWNER)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


REFUSED = (403, b"<Error><Code>AccessDenied</Code></Error>")


@pytest.mark.parametrize("status", [408, 429, 499, 500, 502, 503, 504, 520])
@pytest.mark.parametrize("share", [False, True])
def test_an_answer_that_asks_to_try_again_is_an_outage_and_no_refusal(status: int, share: bool) -> None:
    away = (status, b"<Error><Code>SlowDown</Code></Error>")
    for answers in ((away, REFUSED), (REFUSED, away)):
        with issuer(*answers, share=share) as asked, pytest.raises(StoreUnavailable, match=str(status)):
            asked.issue("uid", "sklearn:digits", 900)


@pytest.mark.parametrize("status", [408, 429, 503])
@pytest.mark.parametrize("kind", ["session", "account"])
def test_a_revocation_that_meets_an_outage_is_tried_again(status: int, kind: str) -> None:
    away = (status, b"")
    with issuer(away, away) as asked, pytest.raises(StoreUnavailable, match=str(status)):
        asked.revoke("uid", kind, ["key"])


@pytest.mark.parametrize(
    "body",
    [
        b"<html>a console</p>",
        b"",
        b"{",
        b"[1]",
        b"\xff\xfe",
        b'<?xml version="1.0" encoding="no-such"?><a/>',
        b"<a/>",
        b"x" * 100,
    ],
)
@pytest.mark.parametrize("status", [200, 400, 403, 501])
def test_an_answer_that_is_not_the_stores_is_a_refusal_in_words(status: int, body: bytes) -> None:
    # The client library closes no connection where an answer has not the head of an encrypted one.
    answer, admin = (status, body), (status, body[:32].ljust(32) + bytes(68))
    with issuer(answer, admin) as asked, pytest.raises(CredentialsRefused, match="makes no credentials"):
        asked.issue("uid", "sklearn:digits", 900)
    with issuer(answer, admin, share=True) as asked:
        assert asked.issue("uid", "sklearn:digits", 900).kind == "shared"


@pytest.mark.parametrize("value", ["no base64 at all!", "/////w=="])
def test_a_secret_whose_keys_are_no_text_is_unusable_in_words(value: str) -> None:
    cluster = MemoryCluster()
    cluster.add("Secret", "mine", data={"access-key": value, "secret-key": value})
    place = Place("http://minio:9000", "bucket", "us-east-1", "mine")
    with pytest.raises(SecretUnusable, match="are no text"):
        asyncio.run(owner_of(place, "team", cluster, SETTINGS))


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"<html/>"])
def test_an_outcome_or_checkpoint_that_is_no_record_is_an_error_of_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    store, prefix = open_store(str(tmp_path)), keys.job("u")
    store.create(keys.result(prefix, "outcome.json"), body)
    store.create(keys.checkpoint(prefix, 3), body)
    monkeypatch.setattr(objects, "open_store", lambda url, owner: open_store(str(tmp_path)))
    place = Place("http://minio:9000", "bucket", "us-east-1")
    with pytest.raises(CorruptObject, match=r"outcome\.json"):
        objects.read_outcome(place, OWNER, "u")
    with pytest.raises(CorruptObject, match=r"checkpoints/3\.json"):
        objects.remove(place, OWNER, "u", keep=True)


def test_a_packing_that_somebody_broke_is_decided_again() -> None:
    for text in ("", "{", "[]", '{"cells": 1}'):
        assert cells.standing({"data": {names.PLACEMENT_KEY: text}}) is None
