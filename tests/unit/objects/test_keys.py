"""Object keys: a search's trials have the same keys as a job, below their search's prefix."""

import pytest

from sapflow.objects import keys

JOB = keys.job("u1")
TRIAL = keys.trial(JOB, 12)


@pytest.mark.parametrize("prefix", [JOB, TRIAL])
def test_a_key_tells_the_prefix_below_which_it_lies_and_whether_it_is_of_parameters(prefix: str) -> None:
    assert keys.prefix_of(keys.spec(prefix)) == prefix
    assert keys.is_params(keys.params(prefix, 3, "abc", 0))
    others = [
        keys.optimizer(prefix, 3, "abc", 0),
        keys.contribution(prefix, 3, "abc", 0, 0, 0),
        keys.data(prefix),
    ]
    assert not any(keys.is_params(key) for key in others)


def test_a_job_is_called_by_its_uid_and_a_trial_by_its_searchs_and_its_number() -> None:
    assert (keys.uid_of(JOB), keys.uid_of(TRIAL)) == ("u1", "u1/trials/12")
    assert TRIAL.startswith(JOB)
