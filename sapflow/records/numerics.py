"""The number of this release's numerics, and the refusal of jobs that were begun under another one.

Two releases with the same number turn the same job into the same bits. Commit 0 and the manifest of the data name the
number under which they were made. A job goes on under that number only, because a model whose first half follows one
rule and whose second half follows another cannot be made again by any release.
"""

from sapflow.errors import OtherNumerics

NUMERICS = 2
"""Raise it by one, and add a line here, with any change of the bits of blocks, of the order of samples, of gradients,
sums or updates:

1. All releases that name no number.
2. Blocks are dealt to ranks, and samples are permuted within windows of a rank's blocks. Features lose a float64 origin
   before they become float32. Parameters without a gradient are left alone by every optimiser, weight decay included.
   Buffers that no worker changed keep their bytes. A short last round of local steps counts the steps that it took.
   Updated weights are checked before they are written.
"""
FIRST = 1
"""The number of records that name none."""


def check_worker(number: int | None, *, own_image: bool) -> None:
    """Raise OtherNumerics unless the worker that made version 0 computes under this release's number.

    `own_image`: the job names an image of its own for workers.
    """
    if number == NUMERICS:
        return
    remedy = (
        "build spec.model.image on the worker's image of this release"
        if own_image
        else "use images of one release"
    )
    raise OtherNumerics(
        f"the worker computes under numerics {FIRST if number is None else number} and the driver under numerics "
        f"{NUMERICS}: their releases differ, and nothing was trained; {remedy}"
    )


def check(uid: str, begun: int | None, *, what: str, cluster: bool) -> None:
    """Raise OtherNumerics unless `begun`, the number that a job's record names, is this release's.

    `what` is the record in words: "version 0", "the cut data". `cluster`: the job runs in one.
    """
    number = FIRST if begun is None else begun
    if number == NUMERICS:
        return
    other = "an earlier" if number < NUMERICS else "a later"
    if cluster:
        remedy = (
            "delete the job and apply it again, or apply it under another metadata.name; it then trains from the "
            "beginning"
        )
    else:
        remedy = (
            "train it from the beginning with `sapflow run --again` (in Python: again=True), or give it another "
            "metadata.name"
        )
    raise OtherNumerics(
        f"job {uid} was begun by {other} release of Sapflow: {what} was made under numerics {number}, and this "
        f"release computes under numerics {NUMERICS}. The two would be mixed in one model, so nothing was computed and "
        f"nothing was changed. Either {remedy}; or go on with the release that began it"
    )
