"""The S3 policy of a job with a source of its own for validation."""

import fnmatch
import json
from typing import Any

import pytest
from helpers.operator_settings import SETTINGS

from sapflow.errors import SpecError
from sapflow.spec.document import parse
from sapflow_operator import names
from sapflow_operator.kinds.job_pool import check
from sapflow_operator.kinds.training_pool import TrainingPool
from sapflow_operator.store.policy import SharedGrant, session_policy
from sapflow_operator.wanted import Place


def allowed(action: str, policy: dict[str, Any]) -> list[str]:
    """The resources of an action, or the prefixes that may be listed."""
    found = []
    for each in policy["Statement"]:
        if f"s3:{action}" in each["Action"]:
            condition = each.get("Condition", {}).get("StringLike", {})
            found += condition.get("s3:prefix", each["Resource"])
    return found


def readable(key: str, policy: dict[str, Any]) -> bool:
    return any(fnmatch.fnmatchcase(f"arn:aws:s3:::{key}", each) for each in allowed("GetObject", policy))


def test_both_sources_may_be_read_and_listed_and_nothing_beside_them() -> None:
    policy = session_policy("sapflow", "u", "s3://data/train", (), "s3://held/out/")
    for source in ("data/train", "held/out"):
        assert readable(f"{source}/part.csv", policy)
        assert readable(source, policy)
        assert not readable(f"{source}2/part.csv", policy)
    assert sorted(allowed("ListBucket", policy)) == ["jobs/u/*", "out/*", "train/*"]
    assert allowed("PutObject", policy) == ["arn:aws:s3:::sapflow/jobs/u/*"]


@pytest.mark.parametrize(
    "validation", ["", "./held.csv", "s3://sapflow/jobs/other", "s3://sapflow/a*", "s3://b"]
)
def test_what_is_no_source_of_its_own_is_granted_nothing(validation: str) -> None:
    assert session_policy("sapflow", "u", "s3://data/train", (), validation) == session_policy(
        "sapflow", "u", "s3://data/train"
    )


def test_one_prefix_twice_is_granted_once() -> None:
    twice = session_policy("sapflow", "u", "s3://data/a", (), "s3://data/a")
    assert twice == session_policy("sapflow", "u", "s3://data/a")


UID = "0d5a7c1e-1111-2222-3333-444455556666"
DIGEST = "0123456789abcdef" * 2


def test_the_data_of_a_shared_area_may_be_read_and_written_only_where_it_is_to_be_cut() -> None:
    data = f"shared/{DIGEST}/data/*"
    for write in (False, True):
        policy = session_policy("sapflow", "u", "s3://data/train", shared=SharedGrant(DIGEST, write))
        assert readable(f"sapflow/shared/{DIGEST}/data/manifest.json", policy)
        for beside in ("users/u", "area.json", "removal", ""):
            assert not readable(f"sapflow/shared/{DIGEST}/{beside}", policy)
        assert not readable(f"sapflow/shared/{'0' * 32}/data/manifest.json", policy)
        assert sorted(allowed("ListBucket", policy)) == ["jobs/u/*", data, "train/*"]
        shared = [f"arn:aws:s3:::sapflow/{data}"] if write else []
        assert allowed("PutObject", policy) == ["arn:aws:s3:::sapflow/jobs/u/*", *shared]
        assert allowed("DeleteObject", policy) == ["arn:aws:s3:::sapflow/jobs/u/*"]


def test_of_a_shared_area_only_what_a_preparation_needed_may_be_removed() -> None:
    for write in (False, True):
        grant = SharedGrant(DIGEST, write, clear=True)
        policy = session_policy("sapflow", "u", "s3://data/raw", shared=grant)
        work = f"arn:aws:s3:::sapflow/shared/{DIGEST}/data/work/*"
        assert allowed("DeleteObject", policy) == ["arn:aws:s3:::sapflow/jobs/u/*", work]


@pytest.mark.parametrize(
    "source", ["s3://sapflow/shared", "s3://sapflow/shared/", f"s3://sapflow/shared/{DIGEST}/data/train"]
)
def test_a_source_in_a_shared_area_is_granted_nothing(source: str) -> None:
    assert session_policy("sapflow", "u", source) == session_policy("sapflow", "u", "sklearn:iris")
    assert session_policy("sapflow", "u", "sklearn:iris", (), source) == session_policy(
        "sapflow", "u", "sklearn:iris"
    )


@pytest.mark.parametrize("prepared", [False, True])
def test_a_policy_with_long_sources_and_a_shared_area_fits_a_session(prepared: bool) -> None:
    """The store allows 2,048 characters. Where raw data is prepared there is no second source."""
    source, held, weights = (f"s3://{each * 40}/{each * 80}" for each in "abc")
    grant = SharedGrant(DIGEST, write=True, clear=prepared)
    policy = session_policy("sapflow", UID, source, [weights], "" if prepared else held, shared=grant)
    assert len(json.dumps(policy, separators=(",", ":"))) <= 2048


def test_files_that_steps_of_a_preparation_name_may_be_read_as_single_objects() -> None:
    files = ["s3://data/words/tokenizer.json", f"s3://sapflow/shared/{DIGEST}/data/tokenizer.json"]
    policy = session_policy("sapflow", "u", "s3://data/raw", files)
    assert readable("data/words/tokenizer.json", policy)
    assert not readable("data/words/other.json", policy)
    assert not readable(f"sapflow/shared/{DIGEST}/data/tokenizer.json", policy)
    assert sorted(allowed("ListBucket", policy)) == ["jobs/u/*", "raw/*"]


def test_a_pool_names_the_files_of_steps_which_are_in_the_jobs_own_store() -> None:
    tokens: dict[str, Any] = {"column": "text", "tokenizer": "s3://data/tokenizer.json", "length": 8}
    prepare: dict[str, Any] = {"target": "late", "steps": [{"tokens": tokens}]}
    wanted = pool("", prepare=prepare, format="csv")
    assert wanted.objects == ["s3://data/tokenizer.json"]
    check(wanted)
    tokens["tokenizer"] += "?endpoint=http://elsewhere:9000"
    with pytest.raises(SpecError, match=r"tokens\.tokenizer: must be in the job's own store"):
        check(pool("", prepare=prepare, format="csv"))


def pool(validation: str, **data: Any) -> TrainingPool:
    second = {"validation": {"source": validation}} if validation else {}
    document = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "a"},
        "spec": {
            "model": {"name": "mlp"},
            "data": {"source": "s3://data/train", **second, **data},
            "workers": 2,
        },
    }
    job = parse(document, "kubernetes")
    return TrainingPool("a", "team", "u1", Place("http://minio:9000", "sapflow", "us-east-1"), SETTINGS, job)


def test_a_pool_names_its_second_source_which_is_in_the_jobs_own_store() -> None:
    assert pool("s3://held/out").validation == "s3://held/out"
    check(pool("s3://held/out?endpoint=http://minio:9000"))
    with pytest.raises(SpecError, match=r"spec\.data\.validation\.source: must be in the job's own store"):
        check(pool("s3://held/out?endpoint=http://elsewhere:9000"))
