"""Rules between fields of a TrainingJob, in one table for the library and the API server.

Each rule is given as a function of the parsed spec and as the CEL expression for the CRD, with the field that it
concerns and a message for people.
"""

import re
from typing import TYPE_CHECKING

from sapflow.quantities import memory
from sapflow.quantities import structure as trees
from sapflow.spec.data_rules import DATA_RULES, option_problems
from sapflow.spec.optimizer_rules import OPTIMIZER_RULES
from sapflow.spec.pod_rules import POD_RULES
from sapflow.spec.prepare_rules import PREPARE_RULES, prepare_problems
from sapflow.spec.prepare_step_rules import STEP_RULES
from sapflow.spec.rule import Rule
from sapflow.spec.service_rules import serve_rules
from sapflow.spec.sources import CLUSTER_SOURCE, JOBS_SOURCE, S3_SOURCE

if TYPE_CHECKING:
    from sapflow.spec.training_job import Runtime, Spec, TrainingJob

MIN_MEMORY = "64Mi"
CLUSTER_NAME = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
"""Names in a cluster; they are stricter than in a local run, because names of Services begin with a job's name."""


def problems(job: "TrainingJob", runtime: "Runtime | None") -> list[tuple[str, str]]:
    """(field path, what is wrong and what to do) for each rule that does not hold."""
    spec = job.spec
    found = [
        (f"spec.{field}", message)
        for rule in RULES
        if rule.runtime in ("both", runtime)
        for field, message in rule.problems(spec)
    ]
    if spec.merge.structure is not None:
        found += [
            ("spec.merge.structure", problem)
            for problem in trees.validate(spec.merge.structure, spec.workers)
        ]
    found += option_problems(spec.data, runtime)
    found += prepare_problems(spec.data, runtime)
    if runtime == "kubernetes" and not re.fullmatch(CLUSTER_NAME, job.metadata.name):
        found.append(("metadata.name", "must begin with a letter: it begins the names of Services"))
    return found


def _at_least(quantity: str, least: str = MIN_MEMORY) -> bool:
    return memory.parse_quantity(quantity) >= memory.parse_quantity(least)


RULES: tuple[Rule["Spec"], ...] = (
    Rule(
        "prices.node",
        "goes with platform Node, and Node needs it: usdPerHour, cpu and memory of a node",
        lambda spec: (spec.prices.node is not None) == (spec.prices.platform == "Node"),
        "has(self.prices.node) == (self.prices.platform == 'Node')",
    ),
    Rule(
        "prices.custom",
        "goes with platform Custom, and Custom needs it: usdPerGiBSecond and others",
        lambda spec: (spec.prices.custom is not None) == (spec.prices.platform == "Custom"),
        "has(self.prices.custom) == (self.prices.platform == 'Custom')",
    ),
    Rule(
        "parametersFrom",
        "does not go with from, which brings the parameters of the version's own job: leave one of the two out",
        lambda spec: spec.parameters_from is None or spec.begins_at is None,
        "!has(self.parametersFrom) || !has(self.from)",
    ),
    Rule(
        "model",
        "needs either name or entrypoint: name for a built-in model, entrypoint for your own",
        lambda spec: (spec.model.name is None) != (spec.model.entrypoint is None),
        "has(self.model.name) != has(self.model.entrypoint)",
    ),
    Rule(
        "model.env",
        "is for models by entrypoint: built-in ones read no environment variables; leave it out",
        lambda spec: spec.model.env is None or spec.model.entrypoint is not None,
        "!has(self.model.env) || has(self.model.entrypoint)",
    ),
    Rule(
        "model.image",
        "is for models by entrypoint, or lossEntrypoint: built-in ones run in Sapflow's own image; leave it out",
        lambda spec: (
            spec.model.image is None
            or spec.model.entrypoint is not None
            or spec.model.loss_entrypoint is not None
        ),
        "!has(self.model.image) || has(self.model.entrypoint) || has(self.model.lossEntrypoint)",
    ),
    Rule(
        "model.lossEntrypoint",
        "takes the place of loss: leave one of the two out",
        lambda spec: spec.model.loss_entrypoint is None or spec.model.loss is None,
        "!has(self.model.lossEntrypoint) || !has(self.model.loss)",
    ),
    Rule(
        "model.huberDelta",
        "is for loss Huber only: leave it out, or set loss: Huber",
        lambda spec: spec.model.huber_delta is None or spec.model.loss == "Huber",
        "!has(self.model.huberDelta) || has(self.model.loss) && self.model.loss == 'Huber'",
    ),
    Rule(
        "model.classWeights",
        "needs either policy or values, not both",
        lambda spec: (
            spec.model.class_weights is None
            or (spec.model.class_weights.policy is None) != (spec.model.class_weights.values is None)
        ),
        "!has(self.model.classWeights) || has(self.model.classWeights.policy) != has(self.model.classWeights.values)",
    ),
    Rule(
        "model.classWeights",
        "is for the built-in losses: a loss by lossEntrypoint weighs samples itself; leave it out",
        lambda spec: spec.model.class_weights is None or spec.model.loss_entrypoint is None,
        "!has(self.model.classWeights) || !has(self.model.lossEntrypoint)",
    ),
    Rule(
        "model.labelSmoothing",
        "is for the built-in losses: a loss by lossEntrypoint smooths targets itself; leave it out",
        lambda spec: spec.model.label_smoothing is None or spec.model.loss_entrypoint is None,
        "!has(self.model.labelSmoothing) || !has(self.model.lossEntrypoint)",
    ),
    Rule(
        "model.labelSmoothing",
        "is for losses of probabilities, which Hinge and SquaredHinge are not: leave it out, or set loss: "
        "BinaryCrossEntropy",
        lambda spec: spec.model.label_smoothing is None or spec.model.loss not in ("Hinge", "SquaredHinge"),
        "!has(self.model.labelSmoothing) || !has(self.model.loss) || "
        "!(self.model.loss in ['Hinge', 'SquaredHinge'])",
    ),
    Rule(
        "algorithm.target",
        "says what targetAccuracy says for accuracy: give one of the two",
        lambda spec: spec.algorithm.target is None or spec.algorithm.target_accuracy is None,
        "!has(self.algorithm.target) || !has(self.algorithm.targetAccuracy)",
    ),
    Rule(
        "algorithm",
        "needs either epochs or steps, not both",
        lambda spec: (spec.algorithm.epochs is None) != (spec.algorithm.steps is None),
        "has(self.algorithm.epochs) != has(self.algorithm.steps)",
    ),
    Rule(
        "merge.structure",
        "must be [1, workers] with algorithm.mode Async: the root applies each contribution by itself",
        lambda spec: (
            spec.algorithm.mode == "Sync" or spec.merge.structure is None or len(spec.merge.structure) == 2
        ),
        "self.algorithm.mode == 'Sync' || !has(self.merge.structure) || size(self.merge.structure) == 2",
    ),
    Rule(
        "merge.reuseWorkers",
        "is for algorithm.mode Sync only: leave it out with Async",
        lambda spec: spec.algorithm.mode == "Sync" or not spec.merge.reuse_workers,
        "self.algorithm.mode == 'Sync' || !self.merge.reuseWorkers",
    ),
    Rule(
        "merge.shards",
        "must be 1 with algorithm.mode Async",
        lambda spec: spec.algorithm.mode == "Sync" or spec.merge.shards in (None, 1),
        "self.algorithm.mode == 'Sync' || !has(self.merge.shards) || self.merge.shards == 1",
    ),
    Rule(
        "limits.goal",
        "is for algorithm.mode Sync only: an asynchronous job has no merge tree to choose",
        lambda spec: spec.algorithm.mode == "Sync" or spec.limits.goal is None,
        "self.algorithm.mode == 'Sync' || !has(self.limits.goal)",
    ),
    Rule(
        "limits.goal",
        "has nothing to choose: leave out merge.structure or merge.shards, and affinity, or the goal",
        lambda spec: (
            spec.limits.goal is None
            or (spec.affinity is None and (spec.merge.structure is None or spec.merge.shards is None))
        ),
        "!has(self.limits.goal) || !has(self.affinity) && (!has(self.merge.structure) || !has(self.merge.shards))",
    ),
    Rule(
        "merge.channel",
        "Inline is for algorithm.mode Sync without affinity: an asynchronous root and a job's cells go by the store",
        lambda spec: (
            spec.merge.channel != "Inline" or (spec.algorithm.facts.merged and spec.affinity is None)
        ),
        "!has(self.merge.channel) || self.merge.channel != 'Inline' || "
        "self.algorithm.mode == 'Sync' && !has(self.affinity)",
    ),
    Rule(
        "algorithm.localSteps",
        "must be 1 with algorithm.mode Async",
        lambda spec: spec.algorithm.mode == "Sync" or spec.algorithm.local_steps == 1,
        "self.algorithm.mode == 'Sync' || self.algorithm.localSteps == 1",
    ),
    Rule(
        "algorithm.maxStaleness",
        "is for algorithm.mode Async only: leave it out with Sync",
        lambda spec: spec.algorithm.mode == "Async" or spec.algorithm.max_staleness is None,
        "self.algorithm.mode == 'Async' || !has(self.algorithm.maxStaleness)",
    ),
    Rule(
        "algorithm.localState",
        "Average and Keep need localSteps above 1",
        lambda spec: spec.algorithm.local_state == "Reset" or spec.algorithm.local_steps > 1,
        "self.algorithm.localState == 'Reset' || self.algorithm.localSteps > 1",
    ),
    Rule(
        "algorithm.localState",
        "Keep needs an optimizer with a state to keep: SGD has none, so leave localState out",
        lambda spec: spec.algorithm.local_state != "Keep" or spec.optimizer.name != "SGD",
        "self.algorithm.localState != 'Keep' || self.optimizer.name != 'SGD'",
    ),
    Rule(
        "data.microBatchSize",
        "must be at most batchSize: it is a part of the batch",
        lambda spec: spec.data.micro_batch_size is None or spec.data.micro_batch_size <= spec.data.batch_size,
        "!has(self.data.microBatchSize) || self.data.microBatchSize <= self.data.batchSize",
    ),
    Rule(
        "affinity",
        "is for algorithm.mode Sync only: leave it out with Async",
        lambda spec: spec.affinity is None or spec.algorithm.mode == "Sync",
        "!has(self.affinity) || self.algorithm.mode == 'Sync'",
    ),
    Rule(
        "affinity",
        "names a pair of from and to twice: give each pair one weight",
        lambda spec: (
            len({(each.child, each.parent) for each in spec.affinity or ()}) == len(spec.affinity or ())
        ),
        "!has(self.affinity) || self.affinity.all(a, "
        "self.affinity.exists_one(b, b.from == a.from && b.to == a.to))",
    ),
    Rule(
        "placement",
        "goes with affinity: say which edges are to stay on one node, or leave it out",
        lambda spec: spec.placement is None or spec.affinity is not None,
        "!has(self.placement) || has(self.affinity)",
    ),
    Rule(
        "placement.cells",
        "must be at most workers: a cell without a worker is of no use",
        lambda spec: (
            spec.placement is None or spec.placement.cells is None or spec.placement.cells <= spec.workers
        ),
        "!has(self.placement) || !has(self.placement.cells) || self.placement.cells <= self.workers",
    ),
    Rule(
        "placement.workersPerCell",
        "times cells must be at least workers: raise it, or take more cells",
        lambda spec: (
            spec.placement is None
            or spec.placement.cells is None
            or spec.placement.workers_per_cell is None
            or spec.placement.cells * spec.placement.workers_per_cell >= spec.workers
        ),
        "!has(self.placement) || !has(self.placement.cells) || !has(self.placement.workersPerCell) || "
        "self.placement.cells * self.placement.workersPerCell >= self.workers",
    ),
    Rule(
        "memory.worker",
        f"must be at least {MIN_MEMORY}",
        lambda spec: _at_least(spec.memory.worker),
        f"quantity(self.memory.worker).compareTo(quantity('{MIN_MEMORY}')) >= 0",
    ),
    Rule(
        "memory.merger",
        f"must be at least {MIN_MEMORY}",
        lambda spec: _at_least(spec.memory.merger),
        f"quantity(self.memory.merger).compareTo(quantity('{MIN_MEMORY}')) >= 0",
    ),
    Rule(
        "memory.preparer",
        f"must be at least {MIN_MEMORY}",
        lambda spec: spec.memory.preparer is None or _at_least(spec.memory.preparer),
        "!has(self.memory.preparer) || "
        f"quantity(self.memory.preparer).compareTo(quantity('{MIN_MEMORY}')) >= 0",
    ),
    Rule(
        "memory.optimize",
        "is for functions that may run on any node: cells are made for one size; leave affinity out",
        lambda spec: spec.memory.optimize is None or spec.affinity is None,
        "!has(self.memory.optimize) || !has(self.affinity)",
    ),
    Rule(
        "memory.optimize",
        "is for algorithm.mode Sync only: leave it out with Async",
        lambda spec: spec.memory.optimize is None or spec.algorithm.mode == "Sync",
        "!has(self.memory.optimize) || self.algorithm.mode == 'Sync'",
    ),
    Rule(
        "memory.optimize",
        "needs workers whose CPU follows their memory: leave cpu.worker out",
        lambda spec: spec.memory.optimize is None or spec.cpu is None or spec.cpu.worker is None,
        "!has(self.memory.optimize) || !has(self.cpu) || !has(self.cpu.worker)",
    ),
    Rule(
        "cpu.policy",
        "is for functions without a CPU limit of their own: leave out cpu.worker or cpu.merger, or the policy",
        lambda spec: (
            spec.cpu is None or spec.cpu.policy is None or spec.cpu.worker is None or spec.cpu.merger is None
        ),
        "!has(self.cpu) || !has(self.cpu.policy) || !has(self.cpu.worker) || !has(self.cpu.merger)",
    ),
    Rule(
        "memory.optimize.min",
        f"must be at least {MIN_MEMORY}",
        lambda spec: (
            spec.memory.optimize is None
            or not spec.memory.optimize.min
            or _at_least(spec.memory.optimize.min)
        ),
        "!has(self.memory.optimize) || !has(self.memory.optimize.min) || "
        f"quantity(self.memory.optimize.min).compareTo(quantity('{MIN_MEMORY}')) >= 0",
    ),
    Rule(
        "memory.optimize.min",
        "must be at most memory.worker, where the search starts",
        lambda spec: (
            spec.memory.optimize is None
            or not spec.memory.optimize.min
            or _at_least(spec.memory.worker, spec.memory.optimize.min)
        ),
        "!has(self.memory.optimize) || !has(self.memory.optimize.min) || "
        "quantity(self.memory.worker).compareTo(quantity(self.memory.optimize.min)) >= 0",
    ),
    Rule(
        "memory.optimize.max",
        "must be at least memory.worker, where the search starts",
        lambda spec: (
            spec.memory.optimize is None
            or not spec.memory.optimize.max
            or _at_least(spec.memory.optimize.max, spec.memory.worker)
        ),
        "!has(self.memory.optimize) || !has(self.memory.optimize.max) || "
        "quantity(self.memory.optimize.max).compareTo(quantity(self.memory.worker)) >= 0",
    ),
    Rule(
        "model.weightsMatch",
        "says what is taken from weights: name a file there, or leave weightsMatch out",
        lambda spec: spec.model.weights_match is None or spec.model.weights is not None,
        "!has(self.model.weightsMatch) || has(self.model.weights)",
    ),
    *OPTIMIZER_RULES,
    *POD_RULES,
    *DATA_RULES,
    *PREPARE_RULES,
    *STEP_RULES,
    Rule(
        "data.source",
        "must be sklearn:NAME, synthetic:NAME, generated:NAME or s3://bucket/prefix: functions in a cluster see no "
        "path of yours",
        lambda spec: re.fullmatch(CLUSTER_SOURCE, spec.data.source) is not None,
        f"self.data.source.matches(r'{CLUSTER_SOURCE}')",
        "kubernetes",
    ),
    Rule(
        "model.weights",
        "must be s3://bucket/key, of letters, digits and !_.=+,@- between single slashes, and not below jobs/ "
        "or an area of shared/: functions in a cluster see no path of yours, and no other job's objects; copy the file "
        "to a prefix of its own",
        lambda spec: (
            spec.model.weights is None
            or (
                re.fullmatch(S3_SOURCE, spec.model.weights) is not None
                and re.match(JOBS_SOURCE, spec.model.weights) is None
            )
        ),
        f"!has(self.model.weights) || (self.model.weights.matches(r'{S3_SOURCE}') && "
        f"!self.model.weights.matches(r'{JOBS_SOURCE}'))",
        "kubernetes",
    ),
    Rule(
        "data.source",
        "must be s3://bucket/prefix, of letters, digits and !_.=+,@- between single slashes; no part begins with a dot",
        lambda spec: (
            not spec.data.source.startswith("s3://") or re.fullmatch(S3_SOURCE, spec.data.source) is not None
        ),
        f"!self.data.source.startsWith('s3://') || self.data.source.matches(r'{S3_SOURCE}')",
        "kubernetes",
    ),
    Rule(
        "data.source",
        "must not be below jobs/, where jobs keep their state, nor be shared/ or an area in it: copy the data to a "
        "prefix of its own",
        lambda spec: re.match(JOBS_SOURCE, spec.data.source) is None,
        f"!self.data.source.matches(r'{JOBS_SOURCE}')",
        "kubernetes",
    ),
    Rule(
        "storage.shareCredentials",
        "needs secretName: only credentials of your own can be shared with the functions",
        lambda spec: (
            spec.storage is None or not spec.storage.share_credentials or spec.storage.secret_name is not None
        ),
        "!has(self.storage) || !self.storage.shareCredentials || has(self.storage.secretName)",
        "kubernetes",
    ),
    *serve_rules(lambda spec: spec.serve),
)
