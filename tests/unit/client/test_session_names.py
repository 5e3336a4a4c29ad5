"""A job of a directory store is found by its uid, by its name, or by a beginning that fits it alone."""

from pathlib import Path

import pytest
from helpers.jobs import make_place, tiny_job

from sapflow.client.session import find_session
from sapflow.errors import DataError


def found(store: Path, name: str) -> str:
    with find_session(name, {}, store=str(store)) as session:
        return session.uid


def test_a_job_is_found_by_any_beginning_of_its_uid_that_fits_it_alone(tmp_path: Path) -> None:
    first = make_place(tmp_path, tiny_job()).uid
    assert [found(tmp_path, name) for name in (first, "tiny", "ti", first[:-3])] == [first] * 4
    second = make_place(tmp_path, tiny_job(algorithm_steps=6)).uid
    assert found(tmp_path, second[:-2]) == second
    assert found(tmp_path, first) == first
    for name in ("tiny", "t", "tiny-"):
        with pytest.raises(DataError, match=r"holds 2 jobs called .* give more of the name") as error:
            found(tmp_path, name)
        assert first in str(error.value)
        assert second in str(error.value)


def test_a_name_in_the_yaml_goes_before_longer_names_that_begin_with_it(tmp_path: Path) -> None:
    uid = make_place(tmp_path, tiny_job()).uid
    (tmp_path / "jobs" / "tiny-too-0123abcd").mkdir()
    assert found(tmp_path, "tiny") == uid
    with pytest.raises(DataError, match="holds no job 'other'"):
        found(tmp_path, "other")


def test_what_is_no_name_of_a_folder_finds_nothing(tmp_path: Path) -> None:
    make_place(tmp_path, tiny_job())
    with pytest.raises(DataError, match="holds no job"):
        found(tmp_path, "*")
