"""What a spec may say of a preparation, and what it is told where it may not."""

from typing import Any

import pytest
from helpers.prepare_specs import REFUSED, REFUSED_IN_A_CLUSTER, SPLITS, STEPS, prepared
from helpers.searches import search_document

from sapflow.errors import SpecError
from sapflow.spec import resolved, tuning_document
from sapflow.spec.document import parse
from sapflow.spec.preparation.step import STEP_KEYS
from sapflow.spec.resolved import ResolvedJob


def said(runtime: Any = "local", **data: Any) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        parse(prepared(**data), runtime)
    return dict(caught.value.problems)


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("runtime", ["local", "kubernetes"])
def test_what_is_wrong_is_told_with_its_field_and_a_remedy(case: str, runtime: str) -> None:
    data, field, message = REFUSED[case]
    assert message in said(runtime, **data)[f"spec.data.{field}"]


@pytest.mark.parametrize("case", REFUSED_IN_A_CLUSTER)
def test_a_tokenizer_in_a_cluster_is_an_object_of_no_other_job(case: str) -> None:
    data, field, message = REFUSED_IN_A_CLUSTER[case]
    assert message in said("kubernetes", **data)[f"spec.data.{field}"]
    parse(prepared(**data))


def test_every_step_and_split_is_accepted_and_read_again() -> None:
    assert {key for step in STEPS for key in step} == set(STEP_KEYS)
    for split in SPLITS:
        job = parse(prepared(prepare={"target": "late", "steps": STEPS, "split": split}))
        assert parse(job.to_json()) == job
        document = ResolvedJob(job, "jobs/u/").to_json()
        assert resolved.read(document, "jobs/u/").job == job
    for format in ("jsonl", "images", "csv"):
        parse(prepared(format=format, prepare={"target": "late"}))


def test_the_options_and_the_fraction_of_a_cut_are_refused_where_they_are_written() -> None:
    found = said(
        prepare={"target": "late"}, options={"target": "late", "group": "who"}, validationFraction=0.2
    )
    assert "prepare.target names the target" in found["spec.data.options.target"]
    assert "by: Group with a column" in found["spec.data.options.group"]
    assert "prepare.split says what is held out" in found["spec.data.validationFraction"]


def test_in_a_cluster_the_default_fraction_is_written_into_every_job_and_refuses_none() -> None:
    parse(prepared(prepare={"target": "late"}, validationFraction=0.2), "kubernetes")


def test_a_step_that_is_written_wrong_is_told_what_is_meant() -> None:
    found = said(
        prepare={"target": "late", "steps": [{"scal": {}}, {"scale": {"columns": ["a"], "method": "std"}}]}
    )
    assert "is not a field (do you mean scale?)" in found["spec.data.prepare.steps[0].scal"]
    assert "must be 'Standard', 'MinMax'" in found["spec.data.prepare.steps[1].scale.method"]


def test_a_search_prepares_its_template_once_and_varies_nothing_of_it() -> None:
    data = {"source": "./flights.csv", "prepare": {"target": "late", "steps": STEPS}}
    document = search_document()
    document["spec"]["template"]["spec"]["data"] = data
    job = tuning_document.parse(document)
    assert job.spec.template.spec.data.prepare is not None
    document["spec"]["parameters"] = [
        {"path": "spec.data.prepare.maxBadRows", "int": {"min": 0, "max": 3}},
    ]
    with pytest.raises(SpecError, match="has a path that trials cannot differ in"):
        tuning_document.parse(document)
