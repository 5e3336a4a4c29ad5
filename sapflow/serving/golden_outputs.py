"""A worker's part of golden rows: the outputs of a job's trained model for a few rows of its data."""

import numpy as np

from sapflow.data.piece_reader import PieceReader
from sapflow.data.read_counter import ReadCounter
from sapflow.messages.replies import KeepReply
from sapflow.messages.requests import KeepRequest
from sapflow.models import inference
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.preparation.profile import Profile
from sapflow.preparation.record import Record
from sapflow.serving import golden_samples
from sapflow.serving.description import Description, described
from sapflow.serving.golden import GoldenRows
from sapflow.timing import Timing
from sapflow.training.loaded import JobCache, LoadedJob


def keep(store: Store, jobs: JobCache, request: KeepRequest, timing: Timing) -> KeepReply:
    """Write the golden rows of a version's model, computed by torch; none where its outputs are not numbers, or not the
    same each time. Raises CorruptObject, StoreError."""
    about = described(request.metadata, request.output)
    with timing.phase("read"):
        loaded = jobs.get(request.spec, request.manifest, request.code)
        profile = _profile(store, request, loaded, about)
        loaded.hold(request.params, request.sizes)
        loaded.model.module.eval()
    with timing.phase("compute"):
        scaled = about.scaled(about.single(profile.features.reshape(len(profile.rows), -1)))
        outputs, again = (inference.forward(loaded.model.module, scaled.copy()) for _ in range(2))
    if not np.isfinite(outputs).all() or not np.array_equal(outputs, again):
        return KeepReply(done=True, rows=0, **timing.report())
    with timing.phase("write"):
        store.create(request.output, GoldenRows(profile, outputs, request.model).encode(), durable=True)
    return KeepReply(done=True, rows=len(outputs), **timing.report())


def _profile(store: Store, request: KeepRequest, loaded: LoadedJob, about: Description) -> Profile:
    """The rows that a preparation has kept, or samples of a data set that is trained on as it is."""
    if request.profile is not None:
        content = bytes(store.read(request.profile))
        return Profile.of_record(Record.decode(content, request.profile), request.profile)
    prefix = request.manifest.key.removesuffix(keys.manifest(""))
    reader = PieceReader(store, prefix, loaded.manifest, ReadCounter())
    return golden_samples.profile_of(reader, loaded.manifest, about)
