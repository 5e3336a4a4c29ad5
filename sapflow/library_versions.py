"""The versions of the libraries that compute: beside the CPU, the bits of a sum may depend on them."""

import sys

NAMES = ("numpy", "torch")
"""Libraries that compute, by the names of their modules."""


def library_versions() -> dict[str, str]:
    """The versions of those libraries that this process has loaded, by name: mergers load no torch."""
    loaded = ((name, sys.modules.get(name)) for name in NAMES)
    # A module that is being imported by another thread has no version yet.
    versions = ((name, getattr(module, "__version__", None)) for name, module in loaded)
    return {name: str(version) for name, version in versions if version is not None}
