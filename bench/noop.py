"""Functions that answer every operation at once and do nothing: python -m bench.noop ROLE …

What they say is what real ones would, so that the driver has all of its own work to do.
"""

import base64
import os
import sys
from typing import Any

import numpy as np

from sapflow_functions.process import serve
from sapflow_functions.runner import Context

PARAMETERS = 1024
_EMPTY = {
    "done": True,
    "seconds": {"read": 0.0, "compute": 0.0, "write": 0.0},
    "bytes": {"read": 0, "written": 0},
    "peakMemoryBytes": 0,
}


def initialize(request: dict[str, Any], context: Context) -> dict[str, Any]:
    sizes = {"parameters": PARAMETERS, "averaged": 0, "block": 1024}
    return {**_EMPTY, "sizes": sizes, "slots": ["momentum"], "layout": []}


def contribute(request: dict[str, Any], context: Context) -> dict[str, Any]:
    return {**_EMPTY, "samples": 1, "losses": {"loss": 0.5, "correct": 1.0}}


def root(request: dict[str, Any], context: Context) -> dict[str, Any]:
    norms = base64.b64encode(np.ones(1).tobytes()).decode()
    return {**contribute(request, context), "finite": True, "gradientNorm": 1.0, "norms": norms}


def export(request: dict[str, Any], context: Context) -> dict[str, Any]:
    return {**_EMPTY, "sha256": "0" * 64}


HANDLERS = {
    "initialize": initialize,
    "train": contribute,
    "merge": contribute,
    "root": root,
    "export": export,
}

if __name__ == "__main__":
    sys.exit(serve(sys.argv[1], lambda: HANDLERS, sys.argv[2:], os.environ))
