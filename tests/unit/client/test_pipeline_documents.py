"""Files of several documents."""

from typing import Any

import pytest
from helpers.jobs import document
from helpers.search_runs import iris_search

from sapflow.client.pipeline import checked, linked
from sapflow.client.tuning import uid_of
from sapflow.errors import SpecError
from sapflow.spec import tuning_document
from sapflow.spec.document import parse


def job(name: str = "job", search: str | None = None) -> dict[str, Any]:
    made = document() if search is None else document(parametersFrom={"search": search})
    made["metadata"] = {"name": name}
    return made


def search(name: str = "search") -> dict[str, Any]:
    made = iris_search().to_json()
    made["metadata"] = {"name": name}
    return made


def refused(*documents: Any) -> str:
    with pytest.raises(SpecError) as found:
        linked(documents)
    return str(found.value)


def test_a_job_names_the_search_of_its_file_by_what_that_is_called_in_a_store() -> None:
    first, second = linked([search(), job(search="search")])
    found = parse(second).spec.parameters_from
    assert found is not None
    assert found.search == uid_of(tuning_document.parse(search()))
    assert first == search()


def test_a_search_that_is_not_in_the_file_keeps_its_name() -> None:
    _, second = linked([search(), job(search="earlier")])
    assert second == job(search="earlier")


def test_for_a_cluster_names_stay_as_they_are() -> None:
    documents = [search(), job(search="search")]
    assert checked(documents) == documents


def test_a_job_stands_below_the_search_that_it_waits_for() -> None:
    said = refused(job(search="search"), search())
    assert (
        said == "document 1 spec.parametersFrom.search: 'search' stands below: put the search before the job"
    )


def test_two_documents_of_a_kind_have_two_names_and_a_search_and_a_job_may_have_one() -> None:
    assert "document 1 metadata.name: 'job' is there twice: give each TrainingJob its own" in refused(
        job(), job()
    )
    assert len(linked([search("flights"), job("flights", "flights")])) == 2


def test_a_model_service_is_refused_with_what_takes_its_place() -> None:
    said = refused(job(), {"kind": "ModelService"})
    assert "document 2: is a ModelService, which runs nothing" in said
    assert "spec.serve" in said


def test_another_kind_is_refused_by_its_place() -> None:
    assert refused(job(), {"kind": "Pod"}) == "document 2: must be a TrainingJob or a TuningJob, got 'Pod'"


def test_what_is_wrong_with_a_search_names_it() -> None:
    wrong = search()
    wrong["spec"]["maxWorkers"] = 0
    with pytest.raises(SpecError) as found:
        linked([wrong, job()])
    assert found.value.__notes__ == ["(document 1 search)"]
