"""The `cut` operation: a worker cuts a job's data, and checks whether job, data and model fit together."""

from sapflow.data.cut import check_data, cut
from sapflow.data.manifest import Manifest, manifest_key
from sapflow.errors import DataError, InvocationError, SpecError
from sapflow.messages.replies import CutReply
from sapflow.messages.requests import CutRequest
from sapflow.objects import keys
from sapflow.objects.documents import read_document
from sapflow.objects.stores.protocol import Store
from sapflow.spec.job_to_cut import job_to_cut
from sapflow.spec.training_job import TrainingJob
from sapflow.timing import Timing
from sapflow.training.estimate import examine, forward_flops

_REACHABLE = ("sklearn:", "synthetic:", "generated:", "s3://")


def cut_for_job(store: Store, request: CutRequest, timing: Timing) -> CutReply:
    """Cut the data of the job whose spec is in the store, unless that is done.

    Raises DataError, SpecError (also if the model does not fit the data or the functions' memory), StoreError, and
    InvocationError if the cut exceeds the invocation's time limit.
    """
    found = job_to_cut(read_document(store, request.spec), keys.prefix_of(request.spec.key))
    job = found.job
    asked = job.spec.data
    for field, source in (
        ("source", asked.source),
        ("validation.source", asked.validation.source if asked.validation is not None else None),
    ):
        if source is not None and not source.startswith(_REACHABLE):
            raise DataError(
                f"spec.data.{field} {source!r} is a path, and functions elsewhere do not see your files: "
                "put them into a bucket and name it as s3://bucket/prefix"
            )

    def go_on(samples: int) -> None:
        if not timing.may_start():
            raise InvocationError(
                f"cutting {job.spec.data.source} into blocks was not done in time ({samples:,} samples were): "
                "raise spec.limits.invocationSeconds",
                reason="InvocationTimeout",
            )

    with timing.phase("read"):
        manifest = cut(found, store, go_on)
    check_data(job, manifest)
    with timing.phase("compute"):
        _examine(job, manifest)
        flops = forward_flops(job, manifest)
    return CutReply(
        done=True,
        manifest=manifest_key(found.data_prefix),
        train=manifest.train_samples,
        validation=manifest.validation_samples,
        forward_flops=flops,
        **timing.report(),
    )


def _examine(job: TrainingJob, manifest: Manifest) -> None:
    """Raises SpecError; too little memory is none where functions are given more when they need it."""
    try:
        examine(job, manifest)
    except SpecError as error:
        grows = job.spec.memory.grow_on_oom
        problems = [each for each in error.problems if not grows or not each[0].startswith("spec.memory.")]
        if problems:
            raise SpecError(problems) from error
