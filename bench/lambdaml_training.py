"""LambdaML's training pattern, from its description in the paper: a worker reads its partition once and keeps it.

python -m bench.lambdaml_training RANK COUNT FEATURES BATCH FOLDER: each job is {"round": name}, and its answer the
seconds of one step: the gradient of logistic regression on the next batch, its mean over all workers through the object
store (`bench.lambdaml`'s reduce), and the update. (Jiang et al., Towards Demystifying Serverless Machine Learning
Training, SIGMOD 2021, sections 3 and 4: data is partitioned before training, and gradients are averaged.)
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch

from bench.lambdaml import Worker
from bench.peers import answer, jobs

RATE = 0.001


def main() -> None:
    rank, count, features, batch = (int(argument) for argument in sys.argv[1:5])
    with np.load(Path(sys.argv[5], "data.npz")) as arrays:
        x = torch.from_numpy(arrays["x"][rank::count].copy())
        y = torch.from_numpy(arrays["y"][rank::count].astype(np.float32))
    model = torch.nn.Linear(features, 1)
    merging = Worker(rank, count, features + 1)
    for number, job in enumerate(jobs()):
        started = time.perf_counter()
        first = number * batch % (len(y) - batch + 1)
        outputs = model(x[first : first + batch]).squeeze(1)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(outputs, y[first : first + batch])
        model.zero_grad()
        torch.autograd.backward(loss)
        gradients = [parameter.grad for parameter in model.parameters()]
        parts = [gradient.reshape(-1) for gradient in gradients if gradient is not None]
        merging.vector = torch.cat(parts).numpy()
        mean = torch.from_numpy(merging.reduce(job["round"]).copy())
        with torch.no_grad():
            start = 0
            for parameter in model.parameters():
                size = parameter.numel()
                parameter.sub_(RATE * mean[start : start + size].reshape(parameter.shape))
                start += size
        answer(time.perf_counter() - started)


if __name__ == "__main__":
    main()
