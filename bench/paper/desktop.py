"""Trains a job's network with torch alone in one process: python -m bench.paper.desktop STORE UID THREADS.

It takes the network, the samples and their order from the job's store, reads all samples into memory before the clock
starts, and prints JSON lines with the seconds so far and the accuracy on the samples of each step.
"""

import json
import sys
import time

import torch

from sapflow import models
from sapflow.data.blocks import Manifest
from sapflow.data.dealing import Deal
from sapflow.data.order import Orders
from sapflow.data.sampler import Reader
from sapflow.objects import keys
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store
from sapflow.spec import resolved
from sapflow.spec.training_job import TrainingJob
from sapflow.tasks.torch.losses import TrainingLoss

OPTIMIZERS = {
    "Adam": torch.optim.Adam,
    "SGD": torch.optim.SGD,
}
"""The optimisers that the cases use, by their names in the spec."""


def train(job: TrainingJob, manifest: Manifest, store: Store, uid: str) -> None:
    """Take the same number of steps as the job, with the same samples in each."""
    spec = job.spec
    outputs, steps = manifest.outputs, int(spec.algorithm.steps or 0)
    network = models.build(
        str(spec.model.name),
        spec.model.args,
        inputs=manifest.shape,
        outputs=outputs,
        seed=spec.algorithm.seed,
    )
    task = manifest.task_for()
    loss_of = TrainingLoss(task, task.loss(spec.model))
    optimizer = OPTIMIZERS[spec.optimizer.name](network.parameters(), lr=spec.optimizer.learning_rate)
    batches = _batches(job, manifest, store, uid, steps)
    torch.manual_seed(spec.algorithm.seed)
    started = time.perf_counter()
    for batch in batches:
        optimizer.zero_grad()
        samples = right = 0
        total = sum(len(targets) for _, targets in batch)
        for features, targets in batch:
            loss, figures = loss_of(network(features), targets)
            torch.autograd.backward(loss / total)
            samples, right = samples + len(targets), right + int(figures["correct"])
        optimizer.step()
        print(json.dumps([time.perf_counter() - started, right / samples]), flush=True)


Batch = list[tuple[torch.Tensor, torch.Tensor]]


def _batches(job: TrainingJob, manifest: Manifest, store: Store, uid: str, steps: int) -> list[Batch]:
    """The samples of each step, in pieces of a worker's batch, as they lie in memory."""
    data = job.spec.data
    reader = Reader(store, keys.data(keys.job(uid)), manifest)
    orders = Orders(manifest.train, job.spec.algorithm.seed)
    deal = Deal(manifest.train_samples, data.batch_size, job.spec.workers)
    found: list[Batch] = []
    while len(found) < steps:
        epoch, step = divmod(len(found), deal.steps)
        pieces = []
        for shares in filter(None, (deal.shares(rank, step) for rank in range(deal.workers))):
            features, targets = reader.batch(orders.locate(epoch, shares))
            pieces.append((torch.from_numpy(features), torch.from_numpy(targets)))
        found.append(pieces)
    return found


def main() -> None:
    url, uid, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    store = open_store(url)
    job = resolved.read(json.loads(bytes(store.read(keys.spec(keys.job(uid))))), keys.job(uid)).job
    manifest = Manifest.from_json(json.loads(bytes(store.read(keys.data(keys.job(uid)) + "manifest.json"))))
    train(job, manifest, store, uid)


if __name__ == "__main__":
    main()
