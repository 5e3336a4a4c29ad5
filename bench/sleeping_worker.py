"""A worker that sleeps in place of computing: python -m bench.sleeping_worker worker …

It reads the parameters and writes a contribution, as a real worker does, and takes as long as one did that was
measured.
"""

import os
import sys
import time
from typing import Any

from bench.idle_worker import PARAMETERS, IdleWorker
from sapflow.messages.replies import EvaluateReply, TrainReply
from sapflow.messages.requests import EvaluateRequest
from sapflow.objects import contribution
from sapflow.timing import Timing
from sapflow_functions.process import serve
from sapflow_functions.runner import Context

TRAIN_SECONDS, EVALUATE_SECONDS = "BENCH_TRAIN_SECONDS", "BENCH_EVALUATE_SECONDS"
"""The environment variables with the seconds of a call."""


class SleepingWorker(IdleWorker):
    """Takes so many seconds to train, and so many to evaluate."""

    def __init__(self, count: int, train_seconds: float, evaluate_seconds: float) -> None:
        super().__init__(count)
        self._train_seconds, self._evaluate_seconds = train_seconds, evaluate_seconds

    def train(self, body: dict[str, Any], context: Context) -> TrainReply:
        time.sleep(self._train_seconds)
        return super().train(body, context)

    def evaluate(self, body: dict[str, Any], context: Context) -> EvaluateReply:
        request, timing = EvaluateRequest.model_validate(body), Timing(context.deadline)
        with timing.phase("read"):
            contribution.read_range(context.store, request.params, 0, self.count, self.values)
        with timing.phase("compute"):
            time.sleep(self._evaluate_seconds)
        sums = {"loss": (0.5).hex(), "accuracy": (1.0).hex()}
        return EvaluateReply(done=True, position=1, samples=1, sums=sums, **timing.report())


if __name__ == "__main__":
    train, evaluate = (float(os.environ[name]) for name in (TRAIN_SECONDS, EVALUATE_SECONDS))
    worker = SleepingWorker(int(os.environ[PARAMETERS]), train, evaluate)
    handlers = {"initialize": worker.initialize, "train": worker.train, "evaluate": worker.evaluate}
    sys.exit(serve(sys.argv[1], lambda: handlers, sys.argv[2:], os.environ))
