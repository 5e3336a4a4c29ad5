"""What is to be said about a job and its data that is no error: labels that are not mixed, batches that are larger than
the data, groups that hold out another part than was asked for."""

from sapflow.data.blocks import POOL_BLOCKS, Manifest
from sapflow.data.label_counts import MARKED, spread
from sapflow.spec.training_job import TrainingJob
from sapflow.text import count

_APART = 0.25
"""The part of the fraction asked for by which what is held out may differ from it before that is said."""


def label_warning(job: TrainingJob, manifest: Manifest) -> str | None:
    """What is to be said where the blocks' labels differ markedly; None where they do not.

    It begins with WARNING where workers go on alone with such samples: with local steps, or a fixed partition.
    """
    apart = spread(manifest.label_counts)
    if apart < MARKED:
        return None
    said = (
        f"labels are not mixed: {apart:.0%} of a block's labels would have to change for it to be like the whole, on "
        f"average, and the cut shuffles samples within {POOL_BLOCKS} blocks only"
    )
    remedy = "shuffle the rows of the source, across its files, before they are cut"
    local, fixed = job.spec.algorithm.facts.local_steps > 1, job.spec.data.partition == "Fixed"
    if local or fixed:
        named = " and ".join(["spec.algorithm.localSteps"] * local + ["spec.data.partition: Fixed"] * fixed)
        return f"WARNING: {said}. With {named} workers learn from other labels than the rest: {remedy}"
    return f"{said}; steps see other labels at other times of an epoch. If that matters, {remedy}"


def batch_warning(job: TrainingJob, samples: int) -> str | None:
    """What is to be said where workers ask for more at a time than all samples to train on; None where they do not."""
    spec = job.spec
    local = spec.algorithm.facts.local_steps
    step = spec.workers * spec.data.batch_size * local
    if not 0 < samples < step or spec.data.drop_last:
        return None
    factors = f"{count(spec.workers, 'worker')} × {spec.data.batch_size:,} (spec.data.batchSize)"
    if local > 1:
        factors += f" × {local:,} (spec.algorithm.localSteps)"
    said = (
        f"WARNING: {factors} are {step:,} samples at a time, and there are {samples:,} to train on: a worker takes "
        "fewer than asked for, and an epoch is a single step"
    )
    if samples < spec.workers:
        said += f", with nothing to do for {count(spec.workers - samples, 'worker')}"
    return f"{said}. Lower spec.data.batchSize or spec.workers"


def split_warning(job: TrainingJob, manifest: Manifest, *, grouped: bool) -> str | None:
    """What is to be said where whole groups hold out another part than was asked for; None where they do not."""
    asked, held = job.spec.data.validation_fraction, held_out(manifest)
    if not grouped or abs(held - asked) <= _APART * asked:
        return None
    return (
        f"WARNING: {held:.1%} of the samples are held out where spec.data.validationFraction asks for {asked:.1%}: a "
        "hash chooses whole groups, and there are few, or large ones. Another spec.algorithm.seed chooses others, and "
        "spec.data.validation takes samples that you have set apart"
    )


def held_out(manifest: Manifest) -> float:
    """The part of all samples that is held out."""
    return manifest.validation_samples / max(1, manifest.train_samples + manifest.validation_samples)
