"""The live display of a running job below a notebook's cell."""

import io
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from rich.console import Console, Group
from rich.text import Text

from sapflow.monitoring.live import LiveDisplay

_WIDTH = 100
_LINES = 5
"""Number of the newest lines that are shown above the display."""
_FRAME = '<pre style="line-height: 1.3; font-family: monospace; white-space: pre-wrap">{code}</pre>'

Update = Callable[[str], None]
Show = Callable[[str], Update]
"""A function that shows HTML below the cell. It returns a function that replaces it, from any thread."""


class NotebookDisplay(LiveDisplay):
    """The terminal's live display as HTML, with the newest important lines above it."""

    def __init__(self, show: Show, title: str, platform: str) -> None:
        super().__init__(io.StringIO(), title, platform)
        self._show, self._lines = show, deque[Text](maxlen=_LINES)
        self._update: Update | None = None

    def __enter__(self) -> "NotebookDisplay":
        self._update = self._show(self._html())
        return self

    def __exit__(self, *exc: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._refresh()

    def _say(self, text: Text) -> None:
        self._lines.append(text)

    def _refresh(self) -> None:
        if self._update is not None:
            self._update(self._html())

    def _html(self) -> str:
        console = Console(
            file=io.StringIO(), record=True, width=_WIDTH, force_terminal=True, force_jupyter=False
        )
        console.print(Group(*self._lines, self.picture()))
        return console.export_html(inline_styles=True, code_format=_FRAME)


def notebook() -> Show | None:
    """The function that shows HTML below a cell; None if this process is not a notebook's kernel."""
    shell = _shell()
    if shell is None or type(shell).__name__ != "ZMQInteractiveShell":
        return None
    from IPython import display  # already imported, because it runs this code

    def show(text: str) -> Update:
        handle: Any = display.display(display.HTML(text), display_id=True)

        def update(text: str) -> None:
            handle.update(display.HTML(text))

        return update

    return show


def _shell() -> object | None:
    running = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return None if running is None else running()
