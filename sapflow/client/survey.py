"""What is known of a job's data before it is cut or prepared."""

from sapflow.data import survey as samples_survey
from sapflow.data.survey import RawExtent as RawExtent
from sapflow.data.survey import Survey as Survey
from sapflow.spec.learning import DataSpec


def survey(data: DataSpec, store: str, seed: int = 0) -> Survey:
    """The manifest that a cut or a preparation would write, by the beginning of the source at least; as
    `sapflow.data.survey.survey` has it. Raises DataError, SpecError, StoreError."""
    if data.prepare is None:
        return samples_survey.survey(data, store, seed)
    from sapflow.preparation import rehearsal  # most jobs have samples as they are
    from sapflow.preparation.needed_packages import needed_packages
    from sapflow.preparation.own_parts import own_parts

    with needed_packages():
        return rehearsal.survey(data, data.prepare, store, seed, own_parts())
