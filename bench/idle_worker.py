"""A worker that computes nothing: python -m bench.idle_worker worker …

It reads the parameters and writes a constant contribution, as a real worker does before and after its computation.
"""

import os
import sys
from typing import Any

import numpy as np

from sapflow.algorithms import optimizers
from sapflow.algorithms.merge import write
from sapflow.messages.replies import InitializeReply, TrainReply
from sapflow.messages.requests import InitializeRequest, TrainRequest
from sapflow.messages.vectors import Sizes
from sapflow.objects import contribution
from sapflow.objects.safetensor import aligned
from sapflow.objects.sums import Sums
from sapflow.quantities import structure
from sapflow.records.numerics import NUMERICS
from sapflow.timing import Timing
from sapflow_functions.process import serve
from sapflow_functions.runner import Context

PARAMETERS = "BENCH_PARAMETERS"
"""The environment variable with the number of parameters."""


class IdleWorker:
    """Keeps its buffers and the current version between calls."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.values = aligned(count)
        self.output = np.zeros(count, np.float32)
        self.held: list[str] = []

    def initialize(self, body: dict[str, Any], context: Context) -> InitializeReply:
        request = InitializeRequest.model_validate(body)
        sizes = Sizes(parameters=self.count, averaged=0, block=optimizers.block_size(self.count))
        self._write(request.outputs, request.shards, context, {})
        timing = Timing(context.deadline)
        return InitializeReply(
            done=True, sizes=sizes, slots=[], layout=[], numerics=NUMERICS, **timing.report()
        )

    def train(self, body: dict[str, Any], context: Context) -> TrainReply:
        request, timing = TrainRequest.model_validate(body), Timing(context.deadline)
        parts = [part.key for part in request.params]
        if parts != self.held:
            with timing.phase("read"):
                contribution.read_range(context.store, request.params, 0, self.count, self.values)
            self.held = parts
        sums = Sums(1, {"loss": 0.0, "correct": 0.0})
        with timing.phase("write"):
            for ref in request.outputs:
                write(context.channels, ref, self.output[ref.start : ref.stop], sums.to_metadata())
        return TrainReply(done=True, samples=1, losses=dict(sums.losses), **timing.report())

    def _write(self, keys: list[str], shards: int, context: Context, metadata: dict[str, str]) -> None:
        ranges = structure.shard_ranges(self.count, shards, optimizers.block_size(self.count))
        for key, (start, stop) in zip(keys, ranges, strict=True):
            context.store.create(key, contribution.encode(self.output[start:stop], metadata))


if __name__ == "__main__":
    worker = IdleWorker(int(os.environ[PARAMETERS]))
    handlers = {"initialize": worker.initialize, "train": worker.train}
    sys.exit(serve(sys.argv[1], lambda: handlers, sys.argv[2:], os.environ))
