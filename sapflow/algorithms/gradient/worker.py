"""What a worker computes: Σ gradient over the rank's samples; autograd adds micro-batch to micro-batch in place."""

import numpy as np

from sapflow.algorithms.worker import AlgorithmWorker
from sapflow.objects.sums import Sums
from sapflow.quantities.batches import micro_batches


class Worker(AlgorithmWorker):
    """The worker's side."""

    def cut(self) -> list[tuple[int, int]]:
        return micro_batches(self.samples, self.samples, self.engine.micro_size)

    def finish(self) -> tuple[np.ndarray, Sums]:
        vectors = self.vectors
        vectors.check_gradient()
        vectors.collect_buffers()
        trained = vectors.parameters
        np.multiply(vectors.values[trained:], np.float32(self.samples), out=vectors.output[trained:])
        return vectors.output, self.sums(self.samples, 1, vectors.used().astype(np.int64))

    def state(self) -> list[np.ndarray]:
        self.vectors.collect_buffers()
        return [self.vectors.gradient, self.vectors.values[self.vectors.parameters :]]
