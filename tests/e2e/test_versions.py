"""Versions of a cluster's jobs: forked, compared, computed again."""

from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.cluster_jobs import small
from helpers.commands import Done, run
from helpers.kube import Job, kubectl, owned_store, owner_environment, read

from sapflow.errors import ObjectMissing, StoreError
from sapflow.objects.stores.credentials import Credentials
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store
from sapflow_operator import names


@pytest.fixture
def store() -> Iterator[Store]:
    with owned_store() as found:
        yield found


def cli(store: Store, namespace: str, *words: object) -> Done:
    return run(*words, "-n", namespace, "--store", store.url, environ=owner_environment())


def applied(namespace: str, path: Path) -> Job:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    return Job.apply(namespace, document, document["metadata"]["name"])


def parent(namespace: str, **changes: Any) -> Job:
    fields: dict[str, Any] = {"algorithm": {"steps": 20}, "checkpoint": {"everySteps": 10, "keep": 2}}
    job = Job.apply(namespace, small(**fields, **changes))
    job.until_succeeded()
    return job


def test_a_fork_goes_on_with_the_bits_of_its_job_or_from_there_with_numbers_of_its_own(
    namespace: str, store: Store, tmp_path: Path
) -> None:
    job = parent(namespace)
    same, slower = tmp_path / "same.yaml", tmp_path / "slower.yaml"
    assert cli(store, namespace, "fork", "digits@10", "-o", same, "--name", "same").code == 0
    change = "spec.optimizer.learningRate=0.001"
    done = cli(store, namespace, "fork", "digits@10", "--set", change, "-o", slower, "--name", "slower")
    assert done.code == 0, done.err

    forks = [applied(namespace, path) for path in (same, slower)]
    ended = [fork.until_succeeded() for fork in forks]

    assert [each["result"]["version"] for each in ended] == [20, 20]
    uid = job.read()["metadata"]["uid"]
    assert [each["origin"]["uid"] for each in ended] == [uid, uid]
    equal = cli(store, namespace, "diff", "digits", "same")
    assert equal.code == 0, equal.out + equal.err
    apart = cli(store, namespace, "diff", "digits", "slower")
    assert apart.code == 1
    assert "learningRate" in apart.out


def test_a_fork_may_read_what_it_begins_with_and_nothing_else_of_the_other_job(
    namespace: str, store: Store, tmp_path: Path
) -> None:
    job = parent(namespace)
    path = tmp_path / "fork.yaml"
    longer = "spec.algorithm.steps=3000"
    assert cli(store, namespace, "fork", "digits@10", "--set", longer, "-o", path).code == 0
    fork = applied(namespace, path)
    fork.until_step(12)

    uid = job.read()["metadata"]["uid"]
    data = read("secret", "-n", namespace, names.pool_secret(fork.name))["data"]
    key, secret, token = (
        b64decode(data[each]).decode() for each in (names.ACCESS_KEY, names.SECRET_KEY, names.SESSION_TOKEN)
    )
    mine = open_store(store.url, Credentials(key, secret, token or None))
    try:
        assert bytes(mine.read(f"jobs/{uid}/commits/10.json"))
        for other in ("commits/20.json", "result/model.safetensors"):
            assert bytes(store.read(f"jobs/{uid}/{other}"))
            with pytest.raises(StoreError) as caught:
                mine.read(f"jobs/{uid}/{other}")
            assert not isinstance(caught.value, ObjectMissing)
        with pytest.raises(StoreError):
            mine.create(f"jobs/{uid}/commits/21.json", b"{}")
    finally:
        mine.close()

    # What it began with is its own by now.
    job.delete()
    step = fork.step
    fork.until_step(step + 20)


def test_a_fork_of_what_is_not_there_says_what_to_do(namespace: str, store: Store, tmp_path: Path) -> None:
    document = small(algorithm={"steps": 20}, **{"from": {"job": "absent", "version": 10}})
    fork = Job.apply(namespace, document, "early")
    fork.until(lambda seen: "absent" in str(seen.get("conditions")), "a condition that names the absent job")
    fork.delete()

    parent(namespace)
    document = small(algorithm={"steps": 30}, **{"from": {"job": "digits", "version": 7}})
    fork = Job.apply(namespace, document, "gone")
    fork.until(
        lambda seen: "spec.from.version" in str(seen.get("conditions")), "a condition that names the field"
    )


def test_versions_of_a_cluster_are_computed_again_here_and_other_images_are_warned_of(
    namespace: str, store: Store
) -> None:
    parent(namespace)
    done = cli(store, namespace, "verify", "digits", "--versions", "11..12", "--json")
    # This machine's torch is not the image's: bits may differ, and whoever reads it must know.
    assert done.code in (0, 1), done.err
    found = done.json
    assert [each["version"] for each in found["versions"]] == [11, 12]
    assert any("image" in each for each in found["warnings"])
    if done.code != 0:
        assert "-m sapflow verify" in found["remedy"]
    assert "digits" in kubectl("get", "tj", "-n", namespace)
