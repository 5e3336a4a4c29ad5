"""What of this machine's CPU the bits of a sum may depend on: numpy, torch and the libraries below them choose their
code by it."""

import platform
from functools import cache
from pathlib import Path

_LEVELS = ("avx512f", "avx2", "avx", "sse4_2", "sve2", "sve", "asimd")
"""The sets of vector instructions for which libraries have code of its own, the widest first."""


@cache
def cpu_capability() -> str:
    """The architecture, the maker and the widest vector instructions, as `x86_64 AuthenticAMD avx2`.

    What the system does not tell is left out.
    """
    return " ".join([platform.machine(), *_known(_cpuinfo())])


def _cpuinfo() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
            # The first processor's part: all of a machine are alike.
            return file.read(8192).partition("\n\n")[0]
    except OSError:
        return ""


def _known(cpuinfo: str) -> list[str]:
    """Maker and vector instructions of a processor's part of /proc/cpuinfo."""
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    fields = {name.strip(): value.strip() for name, _, value in lines}
    maker = fields.get("vendor_id") or fields.get("CPU implementer")
    flags = {*fields.get("flags", "").split(), *fields.get("Features", "").split()}
    level = next((each for each in _LEVELS if each in flags), None)
    return [each for each in (maker, level) if each]
