"""A worker's part of golden rows: the outputs of a job's trained model for the rows that its preparation has kept."""

from sapflow.messages.replies import KeepReply
from sapflow.messages.requests import KeepRequest
from sapflow.models import inference
from sapflow.objects.stores.protocol import Store
from sapflow.preparation.profile import Profile
from sapflow.preparation.record import Record
from sapflow.serving.description import described
from sapflow.serving.golden import GoldenRows
from sapflow.timing import Timing
from sapflow.training.loaded import JobCache


def keep(store: Store, jobs: JobCache, request: KeepRequest, timing: Timing) -> KeepReply:
    """Write the golden rows of a version's model, computed by torch. Raises CorruptObject, StoreError."""
    with timing.phase("read"):
        profile = Profile.of_record(
            Record.decode(bytes(store.read(request.profile)), request.profile), request.profile
        )
        loaded = jobs.get(request.spec, request.manifest, request.code)
        loaded.hold(request.params, request.sizes)
        loaded.model.module.eval()
    about = described(request.metadata, request.output)
    with timing.phase("compute"):
        single = about.single(profile.features.reshape(len(profile.rows), -1))
        outputs = inference.forward(loaded.model.module, about.scaled(single))
    with timing.phase("write"):
        store.create(request.output, GoldenRows(profile, outputs, request.model).encode(), durable=True)
    return KeepReply(done=True, rows=len(outputs), **timing.report())
