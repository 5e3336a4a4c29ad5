"""What an exception of a user's own code says: the line that raised it, and the frames of that code."""

import traceback
from pathlib import Path

_OURS = ("sapflow", "sapflow_functions", "torch")
"""Packages whose frames tell a user nothing."""
MOST_FRAMES = 20


def raised(error: BaseException) -> str:
    """The exception in one line, with the last line of the user's own code: `ValueError: … (net.py, line 7, in f)`."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    frames = own_frames(error)
    if not frames:
        return text
    last = frames[-1]
    return f"{text} ({Path(last.filename).name}, line {last.lineno}, in {last.name})"


def own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The frames of code that is neither Sapflow's nor torch's nor the interpreter's, outermost first."""
    return [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_ours(frame.filename)]


def own_traceback(error: BaseException) -> str:
    """The traceback of the user's own frames; that of all frames where there are none."""
    frames = own_frames(error)[-MOST_FRAMES:]
    if not frames:
        return "".join(traceback.format_exception(error)).rstrip()
    lines = traceback.StackSummary.from_list(frames).format()
    return "".join(
        ["Traceback (most recent call last):\n", *lines, *traceback.format_exception_only(error)]
    ).rstrip()


def _is_ours(filename: str) -> bool:
    path = Path(filename)
    inside = path.parts
    if filename.startswith("<") or "sapflow_functions" in inside:
        return True
    if "site-packages" in inside:
        rest = inside[inside.index("site-packages") + 1 :]
        return bool(rest) and rest[0] in _OURS
    return any(path.is_relative_to(root) for root in _ROOTS)


_ROOTS = (Path(__file__).parent, Path(traceback.__file__).parent)
