"""The images of case C: Debian's package dataset-fashion-mnist, 60,000 of MNIST's format, or digits in its place."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

PACKAGE = "dataset-fashion-mnist"
FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where the package has its files."""
SAMPLES = 60_000


def data() -> dict[str, Any]:
    """The fields of `spec.data`: the images of the package, which is installed if it can be, else as many digits."""
    if FOLDER.is_dir() or _install():
        return {"source": str(FOLDER), "format": "idx"}
    return {"source": "generated:mnist", "options": {"samples": SAMPLES}}


def _install() -> bool:
    """Install the package, as root on Debian; whether its files are there."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        return False
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", PACKAGE]
    for step in (command, ["apt-get", "update", "-qq"], command):
        done = subprocess.run(step, env=environ, stdout=subprocess.DEVNULL, check=False)
        if step is command and done.returncode == 0:
            break
    return FOLDER.is_dir()
