"""What a spec may say about held-out samples."""

from typing import Any

import pytest
from helpers.jobs import document

from sapflow.client.session import uid_of
from sapflow.errors import SpecError
from sapflow.spec import resolved
from sapflow.spec.document import parse
from sapflow.spec.resolved import ResolvedJob


def job(**data: Any) -> dict[str, Any]:
    return document(**{f"data_{name}": value for name, value in data.items()})


def problems(runtime: Any = "local", **data: Any) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        parse(job(**data), runtime)
    return dict(caught.value.problems)


HELD: dict[str, Any] = {"validation": {"source": "s3://bucket/held"}, "validationFraction": None}
"""A source for validation, and no fraction."""
TABLE = {"source": "s3://bucket/table"}


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.9])
def test_a_fraction_beside_a_source_for_validation_is_refused(fraction: float) -> None:
    said = problems(**TABLE, **HELD | {"validationFraction": fraction})
    assert "leave validationFraction out" in said["spec.data.validation"]


def test_in_a_cluster_the_default_is_written_into_every_job_and_refuses_none() -> None:
    found = parse(job(**TABLE, **HELD | {"validationFraction": 0.2}), "kubernetes")
    document = ResolvedJob(found, "jobs/u/", "kubernetes").to_json()
    assert resolved.read(document, "jobs/u/").job == found
    assert "spec.data.validation" in problems("kubernetes", **TABLE, **HELD | {"validationFraction": 0.3})


def test_a_job_with_a_source_for_validation_is_written_and_read_again() -> None:
    found = parse(job(**TABLE, **HELD))
    assert "validationFraction" not in found.to_json()["spec"]["data"]
    assert parse(found.to_json()) == found
    document = ResolvedJob(found, "jobs/u/").to_json()
    assert resolved.read(document, "jobs/u/").job == found
    none_held = parse(job(**TABLE, **HELD | {"validationFraction": 0}))
    assert parse(none_held.to_json()) == none_held


def test_jobs_that_say_nothing_of_it_keep_their_documents_and_names() -> None:
    found = parse(job())
    assert sorted(found.to_json()["spec"]["data"]) == [
        "batchSize",
        "normalize",
        "options",
        "source",
        "validationFraction",
    ]
    assert uid_of(found) == "tiny-1296d98f"


@pytest.mark.parametrize("source", ["sklearn:iris", "synthetic:binary?seed=1", "generated:mnist"])
def test_sets_that_are_made_have_no_second_part(source: str) -> None:
    said = problems(**TABLE, **HELD | {"validation": {"source": source}})
    assert "have no second part" in said["spec.data.validation.source"]


@pytest.mark.parametrize("source", ["./held.csv", "s3://bucket/jobs/u", "s3://bucket/a*", "s3://bucket"])
def test_a_cluster_takes_no_path_and_no_other_jobs_objects_for_validation(source: str) -> None:
    said = problems("kubernetes", **TABLE, **HELD | {"validation": {"source": source}})
    assert "must be s3://bucket/prefix" in said["spec.data.validation.source"]


def test_ways_to_hold_out_exclude_each_other() -> None:
    assert "data.validation names them" in problems(**TABLE, **HELD, split="Stratified")["spec.data.split"]
    grouped = {"options": {"group": "who"}}
    assert "leave one out" in problems(**TABLE, **HELD, **grouped)["spec.data.options.group"]
    both = problems(**TABLE, **grouped, split="Stratified")
    assert "whole groups" in both["spec.data.options.group"]
    parse(job(**TABLE, **grouped, split="Random"))
    none = problems(**TABLE, split="Stratified", validationFraction=0)
    assert "holds none out" in none["spec.data.split"]


def test_unknown_ways_and_fields_are_refused() -> None:
    assert "do you mean Stratified?" in problems(split="stratified")["spec.data.split"]
    said = problems(**TABLE, validationFraction=None, validation={"source": "s3://b/c", "target": "y"})
    assert "allowed: source, format, options" in said["spec.data.validation.target"]
