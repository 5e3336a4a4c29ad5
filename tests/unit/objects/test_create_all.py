"""Objects that are written at the same time."""

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from sapflow.errors import StoreUnavailable
from sapflow.objects.stores.directory import DirectoryStore
from sapflow.objects.stores.protocol import Buffer
from sapflow.objects.stores.together import create_all


class Remote(DirectoryStore):
    """A store whose writes wait for each other."""

    remote = True

    def __init__(self, root: str, writers: int) -> None:
        super().__init__(root)
        self._all_here = threading.Barrier(writers, timeout=20)

    def create(self, key: str, parts: Buffer | Sequence[Buffer], *, durable: bool = False) -> bool:
        self._all_here.wait()
        if key == "bad":
            raise StoreUnavailable("the store is away")
        return super().create(key, parts, durable=durable)


def test_a_remote_store_gets_all_writes_at_once_and_answers_are_in_order(tmp_path: Path) -> None:
    store = Remote(str(tmp_path), 3)
    DirectoryStore(str(tmp_path)).create("b", b"earlier")
    assert create_all(store, [("a", b"1"), ("b", b"2"), ("c", b"3")]) == [True, False, True]
    assert [bytes(store.read(key)) for key in "abc"] == [b"1", b"earlier", b"3"]


def test_an_error_of_any_write_is_raised_when_all_have_ended(tmp_path: Path) -> None:
    store = Remote(str(tmp_path), 2)
    with pytest.raises(StoreUnavailable, match="away"):
        create_all(store, [("a", b"1"), ("bad", b"2")])
    assert store.exists("a")


def test_a_directory_is_written_one_after_the_other(tmp_path: Path) -> None:
    assert create_all(DirectoryStore(str(tmp_path)), [("a", b"1"), ("b", b"2")], durable=True) == [True, True]
