"""Credentials and tokens in mounted files, replaced under a running process as Kubernetes replaces a Secret."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from function_process import FunctionProcess
from minio.credentials.providers import AssumeRoleProvider
from s3_servers import S3Service

from sapflow.errors import StoreError, StoreUnsafe
from sapflow.mounted import MountedFiles
from sapflow.objects.stores.credentials import Credentials
from sapflow.objects.stores.factory import credentials_from_environment, open_store
from sapflow.objects.stores.renewable import RenewableCredentials


class MountedSecret:
    """A folder as the kubelet keeps it: links to a folder of data that is swapped as a whole."""

    def __init__(self, path: Path, **texts: str) -> None:
        self.path = path
        path.mkdir()
        self._states = 0
        self.put(**texts)

    def put(self, **texts: str) -> None:
        self._states += 1
        state = self.path / f"..state-{self._states}"
        state.mkdir()
        for name, text in texts.items():
            (state / name).write_text(text)
            if not (self.path / name).is_symlink():
                (self.path / name).symlink_to(f"..data/{name}")
        fresh = self.path / "..fresh"
        fresh.symlink_to(state.name)
        fresh.rename(self.path / "..data")

    def put_keys(self, keys: Credentials) -> None:
        self.put(access=keys.access_key, secret=keys.secret_key + "\n", session=keys.session_token or "")

    def environ(self) -> dict[str, str]:
        return {
            "SAPFLOW_S3_ACCESS_KEY_FILE": str(self.path / "access"),
            "SAPFLOW_S3_SECRET_KEY_FILE": str(self.path / "secret"),
            "SAPFLOW_S3_SESSION_TOKEN_FILE": str(self.path / "session"),
        }


@pytest.fixture
def secret(tmp_path: Path) -> MountedSecret:
    return MountedSecret(tmp_path / "secret", access="a", secret="b", session="c")


class Clock:
    """A clock that stands until it is told to go."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def renewable(secret: MountedSecret, clock: Clock) -> RenewableCredentials:
    return RenewableCredentials(*secret.environ().values(), clock=clock)


def test_files_give_credentials_where_the_environment_has_none(secret: MountedSecret) -> None:
    source = credentials_from_environment(secret.environ())
    assert source is not None
    assert source.current() == Credentials("a", "b", "c")
    assert credentials_from_environment({}) is None
    given = {"SAPFLOW_S3_ACCESS_KEY": "d", "SAPFLOW_S3_SECRET_KEY": "e"}
    assert credentials_from_environment({**given, **secret.environ()}) == Credentials("d", "e")


def test_a_session_token_that_is_empty_or_not_there_is_none(tmp_path: Path) -> None:
    secret = MountedSecret(tmp_path / "secret", access="a", secret="b")
    for _ in range(2):
        source = credentials_from_environment(secret.environ())
        assert source is not None
        assert source.current() == Credentials("a", "b", None)
        secret.put(access="a", secret="b", session="")


def test_half_a_pair_of_files_is_refused_with_the_name_of_the_other_half(secret: MountedSecret) -> None:
    environ = secret.environ()
    del environ["SAPFLOW_S3_SECRET_KEY_FILE"]
    with pytest.raises(StoreError, match="SAPFLOW_S3_SECRET_KEY_FILE is not set"):
        credentials_from_environment(environ)


def test_files_that_cannot_be_read_or_are_empty_are_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nowhere"):
        RenewableCredentials(str(tmp_path / "nowhere"), str(tmp_path / "nowhere"))
    (tmp_path / "empty").touch()
    with pytest.raises(StoreError, match="empty"):
        RenewableCredentials(str(tmp_path / "empty"), str(tmp_path / "empty"))


def test_renewed_files_are_seen_a_second_later_and_not_looked_at_before(
    secret: MountedSecret, clock: Clock
) -> None:
    source = renewable(secret, clock)
    secret.put(access="x", secret="y", session="z")
    clock.now += 0.9
    assert source.current() == Credentials("a", "b", "c")
    clock.now += 0.1
    assert source.current() == Credentials("x", "y", "z")


def test_what_cannot_be_read_any_more_leaves_the_last_credentials_standing(
    secret: MountedSecret, clock: Clock
) -> None:
    source = renewable(secret, clock)
    (secret.path / "..data").unlink()
    clock.now += 2
    assert source.current() == Credentials("a", "b", "c")
    assert not source.newer_than(Credentials("a", "b", "c"))
    secret.put(access="", secret="", session="")
    clock.now += 2
    assert source.current() == Credentials("a", "b", "c")


def test_texts_of_one_state_are_never_mixed_with_those_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    secret = MountedSecret(tmp_path / "secret", first="1", second="1")
    read, swaps = Path.read_text, iter([True])

    def swap_between(path: Path) -> str:
        text = read(path)
        if path.name == "first" and next(swaps, False):
            secret.put(first="2", second="2")
        return text

    monkeypatch.setattr(Path, "read_text", swap_between)
    paths = [str(secret.path / "first"), str(secret.path / "second")]
    assert MountedFiles(paths, clock=clock).texts() == ("2", "2")


def session_of(minio: S3Service) -> Credentials:
    """Credentials of a session of their own."""
    given = minio.credentials
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::*"}],
    }
    keys = AssumeRoleProvider(
        sts_endpoint=minio.endpoint,
        access_key=given.access_key,
        secret_key=given.secret_key,
        policy=json.dumps(policy),
        region="us-east-1",
    ).retrieve()
    return Credentials(keys.access_key, keys.secret_key, keys.session_token)


@pytest.fixture
def refused(minio: S3Service) -> Credentials:
    """What the store refuses, as it does what has expired."""
    return Credentials("nobody", "knows-this-key")


@pytest.mark.s3
def test_a_store_whose_credentials_are_refused_reads_the_files_again_and_goes_on(
    minio: S3Service, tmp_path: Path, clock: Clock, refused: Credentials
) -> None:
    secret = MountedSecret(tmp_path / "secret", access="", secret="", session="")
    secret.put_keys(refused)
    store = open_store(minio.url("renewed"), renewable(secret, clock))
    with pytest.raises(StoreUnsafe) as caught:
        store.create("key", b"1")
    assert caught.value.reason == "AccessDenied"
    secret.put_keys(session_of(minio))
    assert store.create("key", b"1")
    assert bytes(store.read("key")) == b"1"
    with store.open("key") as reader:
        assert bytes(reader.next(1)) == b"1"
    store.close()


@pytest.mark.s3
def test_a_store_outlives_its_first_credentials(minio: S3Service, tmp_path: Path, clock: Clock) -> None:
    secret = MountedSecret(tmp_path / "secret", access="", secret="", session="")
    secret.put_keys(session_of(minio))
    store = open_store(minio.url("outlives"), renewable(secret, clock))
    assert store.create("key", b"1")
    secret.put_keys(minio.credentials)
    clock.now += 1
    assert not store.create("key", b"2")
    store.close()


@pytest.fixture
def function(tmp_path: Path, secret: MountedSecret) -> Iterator[FunctionProcess]:
    secret.put(token="first")
    variables = {"SAPFLOW_TOKEN": "", "SAPFLOW_TOKEN_FILE": str(secret.path / "token")}
    with FunctionProcess(tmp_path / "store", **variables) as function:
        yield function


def test_a_running_function_takes_a_renewed_token(function: FunctionProcess, secret: MountedSecret) -> None:
    assert function.post("/invoke", {"op": "noop"}, "first")[0] == 200
    assert function.post("/invoke", {"op": "noop"}, "second")[0] == 401
    secret.put(token="second")
    while function.post("/invoke", {"op": "noop"}, "second")[0] == 401:
        pass
    assert function.post("/invoke", {"op": "noop"}, "first")[0] == 401
    assert function.post("/invoke", {"op": "noop"}, "")[0] == 401
