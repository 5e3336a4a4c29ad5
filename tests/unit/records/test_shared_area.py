"""Users of a shared area come and go in any order, and no area goes while it is used, nor stays when it is not."""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sapflow.objects import keys
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store
from sapflow.records import shared_area

AREA = "a" * keys.AREA_DIGITS
DATA = keys.data(keys.area(AREA))
CUT = (f"{DATA}train/0", f"{DATA}train/1", keys.manifest(DATA))


class Turns:
    """Actors that use a store, one request at a time, in an order that is given."""

    def __init__(
        self, store: Store, actors: Sequence[Callable[[Store, Callable[[float], None]], None]]
    ) -> None:
        self._store, self._changed = store, threading.Condition()
        self._waiting: set[int] = set()
        self._going: int | None = None
        self._alive = set(range(len(actors)))
        self._threads = [
            threading.Thread(target=self._act, args=(number, actor)) for number, actor in enumerate(actors)
        ]

    def run(self, order: Sequence[int]) -> None:
        """Let the actors go on as `order` says, and then in turns to their ends."""
        for thread in self._threads:
            thread.start()
        left, next_one = list(order), 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting == self._alive and self._going is None)
                if not self._alive:
                    break
                wanted = left.pop(0) if left else (next_one := next_one + 1)
                self._going = sorted(self._alive)[wanted % len(self._alive)]
                self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def turn(self, number: int) -> None:
        with self._changed:
            self._waiting.add(number)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._going == number)
            self._going = None
            self._waiting.discard(number)

    def _act(self, number: int, actor: Callable[[Store, Callable[[float], None]], None]) -> None:
        try:
            # A store that waits its turn has the store's requests, and nothing else of it is used.
            actor(_Waiting(self._store, self, number), lambda _: self.turn(number))  # type: ignore[arg-type]
        finally:
            with self._changed:
                self._alive.discard(number)
                self._changed.notify_all()


class _Waiting:
    def __init__(self, store: Store, turns: Turns, number: int) -> None:
        self._store, self._turns, self._number = store, turns, number

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def request(*args: Any, **options: Any) -> Any:
            self._turns.turn(self._number)
            answer = getattr(self._store, name)(*args, **options)
            return list(answer) if name == "list" else answer

        return request


def come(store: Store, pause: Callable[[float], None], uid: str) -> None:
    """A job that uses the area: it cuts what is not cut."""
    shared_area.join(store, AREA, uid, pause=pause)
    if not store.exists(CUT[-1]):
        for key in CUT:
            store.create(key, b"x")


def go(store: Store, pause: Callable[[float], None], uid: str) -> None:
    shared_area.leave(store, AREA, uid, pause=pause)


def come_and_go(store: Store, pause: Callable[[float], None], uid: str) -> None:
    come(store, pause, uid)
    go(store, pause, uid)


Orders = st.lists(st.integers(0, 5), max_size=40)


def after(order: Sequence[int], *actors: tuple[Any, str]) -> list[str]:
    """The keys of the area, which `old` has used, after the actors have done theirs."""
    with TemporaryDirectory() as folder:
        store = open_store(str(Path(folder)))
        come(store, lambda _: None, "old")

        def acting(act: Any, uid: str) -> Callable[[Store, Callable[[float], None]], None]:
            return lambda used, pause: act(used, pause, uid)

        turns = Turns(store, [acting(*each) for each in actors])
        turns.run(order)
        return [each.key for each in store.list(keys.area(AREA))]


@settings(max_examples=80, deadline=None)
@given(Orders)
@example([1, 1, 0, 0, 1, 0, 0])
def test_a_new_user_has_its_data_whenever_the_last_one_leaves(order: list[int]) -> None:
    assert after(order, (go, "old"), (come, "new")) == sorted([*CUT, keys.area_user(AREA, "new")])


@settings(max_examples=80, deadline=None)
@given(Orders)
# `old` has marked the removal and seen `new`, which leaves before the mark is taken back.
@example([0, 0, 1, 1, 0, 0, 1, 1, 1, 1, 0])
def test_nothing_is_left_when_all_have_left(order: list[int]) -> None:
    assert after(order, (go, "old"), (come_and_go, "new")) == []


@settings(max_examples=40, deadline=None)
@given(Orders)
def test_nothing_is_left_of_three_users(order: list[int]) -> None:
    assert after(order, (go, "old"), (come_and_go, "new"), (come_and_go, "third")) == []


@settings(max_examples=40, deadline=None)
@given(Orders)
def test_of_three_users_one_stays_with_all_data(order: list[int]) -> None:
    found = after(order, (go, "old"), (come_and_go, "new"), (come, "stays"))
    assert found == sorted([*CUT, keys.area_user(AREA, "stays")])


@pytest.mark.parametrize("requests", range(9))
def test_a_removal_that_was_interrupted_is_ended_by_its_job_or_waited_for(
    requests: int, tmp_path: Path
) -> None:
    """Whatever the number of requests after which the remover died."""
    store = open_store(str(tmp_path))
    come(store, lambda _: None, "old")

    class Died(Exception):
        pass

    class Dying:
        left = requests

        def __getattr__(self, name: str) -> Any:
            if not self.left:
                raise Died
            self.left -= 1
            return getattr(store, name)

    waited: list[float] = []
    with suppress(Died):
        shared_area.leave(Dying(), AREA, "old")
    come(store, waited.append, "new")
    assert sum(waited) <= shared_area.PATIENCE_SECONDS + 1
    assert all(store.exists(key) for key in CUT)
    shared_area.leave(store, AREA, "old")
    assert all(store.exists(key) for key in CUT), "the removal is repeated, and the area has a user by now"
    assert shared_area.leave(store, AREA, "new")
    assert list(store.list(keys.area(AREA))) == []


def test_a_remover_whose_mark_is_gone_stops(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    come(store, lambda _: None, "old")

    class Slow:
        """Its list of users takes so long that another job takes the mark for a dead one's, and cuts anew."""

        lists = 0

        def __getattr__(self, name: str) -> Any:
            def request(*args: Any, **options: Any) -> Any:
                answer = getattr(store, name)(*args, **options)
                if name == "list":
                    answer = list(answer)
                    self.lists += 1
                    if self.lists == 3:
                        come(store, lambda _: None, "new")
                return answer

            return request

    assert not shared_area.leave(Slow(), AREA, "old")
    assert all(store.exists(key) for key in CUT)
