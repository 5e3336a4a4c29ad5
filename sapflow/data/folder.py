"""What is read of a folder, on this machine and in a bucket."""

from collections.abc import Iterable

from sapflow.errors import DataError

HIDDEN = (".", "_")
"""How the names of files begin that are no data: .ipynb_checkpoints, _SUCCESS, .part-0.crc."""


def in_folder(names: Iterable[str], source: str) -> list[str]:
    """Those of a folder's entries that are read: its files, without hidden ones and what tools leave beside them.

    Names of folders end in '/'; what lies in those is not read. Raises DataError if there are folders alone.
    """
    shown = [name for name in names if not name.startswith(HIDDEN)]
    files = [name for name in shown if not name.endswith("/")]
    folders = sorted(name.rstrip("/") for name in shown if name.endswith("/"))
    if files or not folders:
        return files
    some = ", ".join(folders[:5]) + (" …" if len(folders) > 5 else "")
    if any("=" in name for name in folders):
        raise DataError(
            f"{source} holds partitions ({some}), whose names are columns that no file has, and Sapflow reads those "
            "of files alone: name one partition, or write the table without partitions"
        )
    raise DataError(f"{source} holds no files but folders ({some}): name one of them")


def in_nested(names: Iterable[str]) -> list[str]:
    """Those files of a folder and of folders within it that are read: none that is hidden, or in a hidden one."""
    return [
        name
        for name in names
        if not name.endswith("/") and not any(part.startswith(HIDDEN) for part in name.split("/"))
    ]
