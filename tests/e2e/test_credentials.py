"""A job's own store credentials: they open nothing of others, are renewed while it runs, and end with it."""

from base64 import b64decode
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from helpers.kube import (
    ONE_CPU,
    Job,
    operator_environment,
    owner,
    reachable_store,
    read,
    run_kubectl,
    sample,
    wait_until,
)

from sapflow.errors import ObjectMissing, StoreError
from sapflow.objects.stores.credentials import Credentials
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store
from sapflow_operator import names
from sapflow_operator.store.credentials import Issuer
from sapflow_operator.wanted import Place


def small(**changes: Any) -> dict[str, Any]:
    return sample(
        "digits",
        **{
            "workers": 2,
            "merge__structure": [1, 2],
            "algorithm": {"steps": 300},
            "evaluation": None,
            "cpu": ONE_CPU,
            "memory": {"worker": "512Mi", "merger": "128Mi"},
            **changes,
        },
    )


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """The chart's MinIO, as seen from here."""
    with reachable_store() as found:
        yield found


def credentials_of(job: Job) -> Credentials:
    data = read("secret", "-n", job.namespace, names.pool_secret(job.name))["data"]
    values = [
        b64decode(data[key]).decode() for key in (names.ACCESS_KEY, names.SECRET_KEY, names.SESSION_TOKEN)
    ]
    return Credentials(values[0], values[1], values[2] or None)


@contextmanager
def opened(endpoint: str, credentials: Credentials) -> Iterator[Store]:
    bucket = operator_environment()["SAPFLOW_S3_BUCKET"]
    with closing(open_store(f"s3://{bucket}?endpoint={endpoint}", credentials)) as store:
        yield store


def refused(store: Store, key: str) -> str:
    with pytest.raises(StoreError) as caught:
        store.read(key)
    assert not isinstance(caught.value, ObjectMissing)
    return str(caught.value)


def test_credentials_of_one_job_open_nothing_of_another_and_end_with_their_job(
    namespace: str, endpoint: str
) -> None:
    first, second = Job.apply(namespace, small(), "first"), Job.apply(namespace, small(), "second")
    for job in (first, second):
        job.until_step(3)
    uids = [job.read()["metadata"]["uid"] for job in (first, second)]

    with opened(endpoint, credentials_of(first)) as store:
        assert bytes(store.read(f"jobs/{uids[0]}/spec.json"))
        assert "AccessDenied" in refused(store, f"jobs/{uids[1]}/spec.json")
        assert "AccessDenied" in refused(store, f"jobs/{uids[1]}/nothing")
        with pytest.raises(StoreError):
            store.create(f"jobs/{uids[1]}/work/intruder", b"x")

        first.delete()
        with pytest.raises(StoreError):
            store.read(f"jobs/{uids[0]}/spec.json")
    assert second.state[0] == "Unknown"


def test_a_job_that_names_the_state_of_another_as_its_data_is_refused(namespace: str) -> None:
    victim = Job.apply(namespace, small(suspend=True), "victim")
    uid = victim.read()["metadata"]["uid"]
    bucket = operator_environment()["SAPFLOW_S3_BUCKET"]
    for source in (f"s3://{bucket}/jobs/{uid}/data", f"s3://{bucket}/jobs", f"s3://{bucket}/x/../jobs/{uid}"):
        with pytest.raises(AssertionError, match=r"spec\.data"):
            Job.apply(namespace, small(data={"source": source, "format": "npz"}), "thief")


def test_a_job_outlives_its_first_credentials(namespace: str, endpoint: str) -> None:
    """They are made invalid at the store under the running job; the operator renews them when they are due."""
    job = Job.apply(namespace, small())
    job.until_step(5)
    uid = job.read()["metadata"]["uid"]
    first = credentials_of(job)
    environment = operator_environment()
    place = Place(endpoint, environment["SAPFLOW_S3_BUCKET"], environment["SAPFLOW_S3_REGION"])

    Issuer(place, owner()).revoke(uid, "session", [first.access_key])
    with opened(endpoint, first) as store, pytest.raises(StoreError):
        store.read(f"jobs/{uid}/spec.json")
    secret = names.pool_secret(job.name)
    due = f"{names.CREDENTIALS_RENEW}=2026-01-01T00:00:00+00:00"
    assert run_kubectl("annotate", "secret", "-n", namespace, secret, due, "--overwrite").returncode == 0

    wait_until(lambda: credentials_of(job) != first, "renewed credentials", 90)
    second = credentials_of(job)
    with opened(endpoint, second) as store:
        assert bytes(store.read(f"jobs/{uid}/spec.json"))
        seen = job.until_succeeded()
        assert seen["progress"]["step"] == 300
        wait_until(lambda: run_kubectl("get", "secret", "-n", namespace, secret).returncode, "no Secret", 30)
        with pytest.raises(StoreError):
            store.read(f"jobs/{uid}/spec.json")
