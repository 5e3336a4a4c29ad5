"""Functions that answer every operation at once and do nothing: python -m bench.noop ROLE …

They answer like real ones, so that the driver has all of its work to do.
"""

import base64
import os
import sys
from typing import Any

import numpy as np

from sapflow.messages.replies import ExportReply, InitializeReply, MergeReply, RootReply, TrainReply
from sapflow.messages.vectors import Sizes
from sapflow.records.numerics import NUMERICS
from sapflow_functions.process import serve
from sapflow_functions.runner import Context

PARAMETERS = 1024
_PHASES = {"read": 0.0, "compute": 0.0, "write": 0.0}


def initialize(request: dict[str, Any], context: Context) -> InitializeReply:
    sizes = Sizes(parameters=PARAMETERS, averaged=0, block=1024)
    return InitializeReply(
        done=True, seconds=_PHASES, sizes=sizes, slots=["momentum"], layout=[], numerics=NUMERICS
    )


def train(request: dict[str, Any], context: Context) -> TrainReply:
    return TrainReply(done=True, seconds=_PHASES, samples=1, losses={"loss": 0.5, "correct": 1.0})


def merge(request: dict[str, Any], context: Context) -> MergeReply:
    return MergeReply(done=True, seconds=_PHASES, samples=1)


def root(request: dict[str, Any], context: Context) -> RootReply:
    norms = base64.b64encode(np.ones(1).tobytes()).decode()
    losses = {"loss": 0.5, "correct": 1.0}
    return RootReply(done=True, seconds=_PHASES, samples=1, losses=losses, gradient_norm=1.0, norms=norms)


def export(request: dict[str, Any], context: Context) -> ExportReply:
    return ExportReply(done=True, seconds=_PHASES, sha256="0" * 64)


HANDLERS = {
    "initialize": initialize,
    "train": train,
    "merge": merge,
    "root": root,
    "export": export,
}

if __name__ == "__main__":
    sys.exit(serve(sys.argv[1], lambda: HANDLERS, sys.argv[2:], os.environ))
