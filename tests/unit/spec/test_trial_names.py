"""Names of trials, wherever a job may be named."""

import pytest
from helpers.jobs import document

from sapflow.errors import SpecError
from sapflow.spec.document import parse
from sapflow.spec.trial_names import TrialName, trial_named


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("digits/trials/7", TrialName("digits", 7)),
        ("digits-1a2b3c4d/trials/0", TrialName("digits-1a2b3c4d", 0)),
        ("folder/tune.yaml/trials/best", TrialName("folder/tune.yaml", None)),
        ("digits", None),
        ("digits/trials/07", None),
        ("digits/trials/worst", None),
        ("/trials/1", None),
    ],
)
def test_a_trial_is_named_by_its_search_and_its_number_or_as_the_best(
    name: str, found: TrialName | None
) -> None:
    assert trial_named(name) == found
    assert found is None or str(found) == name


def test_spec_from_takes_a_job_or_a_trial_and_says_what_it_takes_otherwise() -> None:
    for name in ("digits", "digits-1a2b3c4d/trials/12", "digits/trials/best"):
        job = parse(document(**{"from": {"job": name, "version": 3}}))
        assert job.spec.begins_at is not None
        assert job.spec.begins_at.job == name
    with pytest.raises(SpecError, match=r"spec\.from\.job: must be the name of a job, or of a trial"):
        parse(document(**{"from": {"job": "digits/trials/first", "version": 3}}))
