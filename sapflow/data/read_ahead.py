"""Reads pieces before they are needed, one after the other, in a thread that ends when nothing is left to read."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable

from sapflow.data.order import Piece
from sapflow.errors import SapflowError


class ReadAhead:
    """Pieces to be read. All methods are for one thread, which is not the one that reads."""

    def __init__(self, read: Callable[[Piece], None]) -> None:
        """`read` reads a piece and keeps it. Its errors are not told: whoever needs the piece reads it again, and meets
        them then."""
        self._read = read
        self._changed = threading.Condition()
        self._waiting: OrderedDict[Piece, None] = OrderedDict()
        self._current: Piece | None = None
        self._running = False

    def add(self, pieces: Iterable[Piece]) -> None:
        """Read these pieces after those that wait already."""
        with self._changed:
            for piece in pieces:
                if piece != self._current:
                    self._waiting.setdefault(piece)
            if self._waiting and not self._running:
                self._running = True
                threading.Thread(target=self._work, name="sapflow-read-ahead", daemon=True).start()

    def settle(self, piece: Piece) -> None:
        """The caller needs a piece now: wait for it if it is being read, and leave it to the caller if it waits."""
        with self._changed:
            self._waiting.pop(piece, None)
            self._changed.wait_for(lambda: self._current != piece)

    def stop(self) -> None:
        """Begin no further read, and wait for the one under way."""
        with self._changed:
            self._waiting.clear()
            self._changed.wait_for(lambda: self._current is None)

    def join(self) -> None:
        """Wait until every piece is read."""
        with self._changed:
            self._changed.wait_for(lambda: self._current is None and not self._waiting)

    def _work(self) -> None:
        while self._next():
            try:
                assert self._current is not None
                self._read(self._current)
            except SapflowError:
                # The piece is missing from what is kept, and so is read again where it is needed.
                continue
            finally:
                with self._changed:
                    self._current = None
                    self._changed.notify_all()

    def _next(self) -> bool:
        with self._changed:
            if not self._waiting:
                self._running = False
                return False
            self._current, _ = self._waiting.popitem(last=False)
            return True
