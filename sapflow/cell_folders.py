"""Cells of a local run: a folder each, in memory where the machine has such, gone with the runtime."""

from collections.abc import Mapping
from pathlib import Path

from sapflow.runtime_directory import RuntimeDirectory

SHARED_MEMORY = Path("/dev/shm")


class CellFolders:
    """`paths` are the folders, by the number of their cell."""

    def __init__(self, count: int, environ: Mapping[str, str]) -> None:
        in_memory = {"XDG_RUNTIME_DIR": str(SHARED_MEMORY)} if SHARED_MEMORY.is_dir() else {}
        self._directory = RuntimeDirectory({**environ, **in_memory})
        self.paths = [self._directory.path / f"cell-{cell}" for cell in range(count)]
        for path in self.paths:
            path.mkdir()

    def environment(self, cell: int) -> dict[str, str]:
        """What the functions of a cell are told."""
        return {"SAPFLOW_CELL": str(cell), "SAPFLOW_CELL_DIRECTORY": str(self.paths[cell])}

    def remove(self) -> None:
        """Remove them with all that is in them."""
        self._directory.remove()
