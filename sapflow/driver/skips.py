"""How many steps of a job may be left out because they were not finite."""

from sapflow.driver.keeper import Keeper
from sapflow.errors import JobFailed
from sapflow.records.commits import Commit
from sapflow.steps.context import Context


async def count_skips(context: Context, keeper: Keeper, old: Commit, new: Commit) -> int:
    """The number of skipped steps up to `new`. Raises JobFailed, after a checkpoint of `old`, if none may
    be skipped, or they are too many or all steps of the job."""
    if new.skipped and context.job.spec.algorithm.on_nan == "Fail":
        await keeper.record_checkpoint(old)
        raise JobFailed(
            f"step {new.version}: the loss or gradient is not finite, or the updated weights are not; version "
            f"{old.version} is the last good checkpoint (`sapflow export` gives its model, in a cluster "
            "status.checkpoint.uri). Lower spec.optimizer.learningRate or set spec.optimizer.clipNorm; "
            "spec.algorithm.onNaN: Skip leaves such steps out",
            reason="NotFinite",
            version=old.version,
        )
    skips = (old.skips or 0) + new.newly_skipped
    limit, extent = context.job.spec.limits.skipped_steps, context.extent
    allowed = extent.skips(limit)
    every = new.updates == 0 and extent.done(new) >= extent.total
    if not new.skipped or (skips <= allowed and not every):
        return skips
    what = "contributions" if extent.facts.counts_ranks else "steps"
    said = "" if limit is not None else f" (a tenth of the job's {extent.total:,}, where it is left out)"
    why = (
        f"more than the {allowed:,} of spec.limits.skippedSteps{said}" if skips > allowed else "which is all"
    )
    await keeper.record_checkpoint(old)
    raise JobFailed(
        f"step {new.version}: {skips:,} {what} were not finite and left out, {why}; version {old.version} is the last "
        "good checkpoint. Lower spec.optimizer.learningRate or set spec.optimizer.clipNorm",
        reason="TooManySkipped",
        version=old.version,
    )
