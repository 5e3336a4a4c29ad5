"""Torch DistributedDataParallel on gloo with one thread per process, on batches that are in memory as float tensors.

python -m bench.ddp RANK WORLD RENDEZVOUS BATCH: each job is a number of steps, its answer the seconds of each.
"""

import sys
import time

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.nn.parallel import DistributedDataParallel

from bench.peers import answer, jobs
from sapflow import models

BATCHES = 16


def main() -> None:
    rank, world, rendezvous, batch = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world)
    case_a = models.build("mlp", {"hidden": [100] * 5}, inputs=(20,), outputs=1, seed=0)
    model: nn.Module = DistributedDataParallel(case_a)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    torch.manual_seed(rank)
    features = torch.randint(0, 2, (BATCHES, batch, 20)).float()
    targets = torch.randint(0, 2, (BATCHES, batch, 1)).float()
    for count in jobs():
        dist.barrier()
        seconds = []
        for step in range(count):
            started = time.perf_counter()
            optimizer.zero_grad()
            loss = binary_cross_entropy_with_logits(model(features[step % BATCHES]), targets[step % BATCHES])
            loss.backward()
            optimizer.step()
            seconds.append(time.perf_counter() - started)
        answer(seconds)


if __name__ == "__main__":
    main()
