"""The folders of a local run's cells: on a memory file system if the machine has one, removed with the runtime."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from sapflow.runtimes.embedded.directory import RuntimeDirectory

SHARED_MEMORY = Path("/dev/shm")
LEAST_BYTES = 1 << 30
"""Bytes that must be free on the memory file system; containers often have no more than 64 MiB of it."""


class CellFolders:
    """`paths` are the folders by the number of the cell."""

    def __init__(self, count: int, environ: Mapping[str, str]) -> None:
        roomy = SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free >= LEAST_BYTES
        in_memory = {"XDG_RUNTIME_DIR": str(SHARED_MEMORY)} if roomy else {}
        self._directory = RuntimeDirectory({**environ, **in_memory})
        self.paths = [self._directory.path / f"cell-{cell}" for cell in range(count)]
        for path in self.paths:
            path.mkdir()

    def environment(self, cell: int) -> dict[str, str]:
        """The environment variables for the functions of a cell."""
        return {"SAPFLOW_CELL": str(cell), "SAPFLOW_CELL_DIRECTORY": str(self.paths[cell])}

    def remove(self) -> None:
        """Remove the folders and everything in them."""
        self._directory.remove()
