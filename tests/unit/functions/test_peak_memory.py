"""The peak memory that a function reports is its own."""

import subprocess
import sys

from sapflow.timing import peak_memory

MIB = 1 << 20


def test_the_peak_grows_with_what_is_held() -> None:
    before = peak_memory()
    block = bytearray(before + 64 * MIB)
    block[::4096] = b"\1" * len(block[::4096])
    assert peak_memory() >= before + 64 * MIB


def test_the_peak_of_a_large_parent_is_not_the_childs() -> None:
    child = "from sapflow.timing import peak_memory; print(peak_memory())"
    parent = (
        "import subprocess, sys\n"
        f"block = b'1' * {400 * MIB}\n"
        f"subprocess.run([sys.executable, '-c', {child!r}], check=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, check=True)
    assert MIB < int(done.stdout) < 200 * MIB
