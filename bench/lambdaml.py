"""LambdaML's two patterns of synchronisation through object storage, from their description in the paper.

python -m bench.lambdaml RANK COUNT PARAMETERS: each job is {"pattern": "reduce" | "scatterReduce", "round": name}, and
its answer the seconds until this process has the mean of all vectors.

reduce: every worker PUTs its vector; worker 0 lists until all are there, GETs and averages them, PUTs the mean, which
the others wait for. scatterReduce: every worker PUTs one chunk for each worker; each waits for the chunks that are
its own, averages them and PUTs the mean; each waits for all means. (Jiang et al., Towards Demystifying Serverless
Machine Learning Training, SIGMOD 2021, section 3.)
"""

import sys
import time
from collections.abc import Iterable

import numpy as np

from bench.minio_client import POLL_SECONDS, Client
from bench.peers import answer, jobs


class Worker:
    """One of `count`; its vector is float32 [parameters]."""

    def __init__(self, rank: int, count: int, parameters: int) -> None:
        self.rank, self.count = rank, count
        self.client = Client()
        self.vector = np.full(parameters, rank, np.float32)
        self.bounds = [parameters * part // count for part in range(count + 1)]

    def reduce(self, name: str) -> np.ndarray:
        self.client.put(f"{name}/in/{self.rank}", self.vector.data.cast("B"))
        if self.rank == 0:
            names = self._all(f"{name}/in/")
            mean = self._mean(self.client.get(one) for one in names)
            self.client.put(f"{name}/mean", mean.data.cast("B"))
            return mean
        return np.frombuffer(self.client.wait_for(f"{name}/mean"), np.float32)

    def scatter_reduce(self, name: str) -> np.ndarray:
        for part in range(self.count):
            chunk = self.vector[self.bounds[part] : self.bounds[part + 1]]
            self.client.put(f"{name}/in/{part}/{self.rank}", chunk.data.cast("B"))
        names = self._all(f"{name}/in/{self.rank}/")
        mean = self._mean(self.client.get(one) for one in names)
        self.client.put(f"{name}/mean/{self.rank}", mean.data.cast("B"))
        chunks = [self.client.wait_for(f"{name}/mean/{part}") for part in range(self.count)]
        return np.concatenate([np.frombuffer(chunk, np.float32) for chunk in chunks])

    def _all(self, prefix: str) -> list[str]:
        """The names of all workers' objects, once they are there."""
        while len(names := self.client.names(prefix)) < self.count:
            time.sleep(POLL_SECONDS)
        return names

    def _mean(self, objects: Iterable[bytes]) -> np.ndarray:
        total: np.ndarray | None = None
        for data in objects:
            vector = np.frombuffer(data, np.float32)
            total = vector.copy() if total is None else np.add(total, vector, out=total)
        assert total is not None
        return total / np.float32(self.count)


def main() -> None:
    worker = Worker(*(int(argument) for argument in sys.argv[1:4]))
    patterns = {"reduce": worker.reduce, "scatterReduce": worker.scatter_reduce}
    for job in jobs():
        started = time.perf_counter()
        mean = patterns[job["pattern"]](job["round"])
        seconds = time.perf_counter() - started
        assert np.allclose(mean, (worker.count - 1) / 2)
        answer(seconds)


if __name__ == "__main__":
    main()
