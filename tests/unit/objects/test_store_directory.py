"""The directory store: the contract, and what file systems do to it."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from store_contract import StoreContract

from sapflow.errors import ObjectMissing, StoreError, StoreUnsafe
from sapflow.objects.stores.directory import DirectoryStore
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


class TestDirectoryStore(StoreContract):
    @pytest.fixture
    def store(self, directory_store: Store) -> Store:
        return directory_store

    def left(self, store: Store) -> list[str]:
        return files(Path(store.url.removeprefix("file://")))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_named_and_leaves_no_file(small_disk: Path) -> None:
    store = open_store(str(small_disk))
    store.create("small", b"x")
    with pytest.raises(StoreError, match=r"disk/large.*disk full.*free some space") as caught:
        store.create("large", bytes(2 << 20))
    assert not caught.value.retryable
    assert files(small_disk) == ["small"]
    assert store.create("large", bytes(1000))


def test_a_read_only_file_system_is_named_and_can_still_be_read(small_disk: Path) -> None:
    open_store(str(small_disk)).create("key", b"x")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    store = open_store(str(small_disk))
    assert bytes(store.read("key")) == b"x"
    assert not store.exists("other")
    for refused in (lambda: store.create("other", b""), store.probe, lambda: store.delete(["key"])):
        with pytest.raises(StoreError, match=r"disk/.*read-only"):
            refused()


def test_a_directory_without_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    user = os.geteuid()
    store = open_store(str(tmp_path / "store"))
    try:
        if user == 0:
            os.seteuid(65534)  # root may write everywhere
        with pytest.raises(StoreError, match=r"store/key.*permission denied"):
            store.create("key", b"")
    finally:
        os.seteuid(user)


def test_a_file_where_a_directory_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file/store/key.*not a directory"):
        open_store(str(tmp_path / "file" / "store")).create("key", b"")
    store = open_store(str(tmp_path))
    with pytest.raises(StoreError, match=r"file/key"):
        store.create("file/key", b"")
    with pytest.raises(ObjectMissing):
        store.read("file/key")


def test_a_file_system_without_hard_links_is_unsafe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(StoreUnsafe, match="no hard links"):
        open_store(str(tmp_path)).probe()
    assert files(tmp_path) == []


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder with somebody's files, beside the store."""
    folder = tmp_path / "outside"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "thesis.txt").write_text("mine")
    (folder / "thesis.txt").write_text("mine")
    return folder


OUTSIDE = ["sub/thesis.txt", "thesis.txt"]


def test_removing_a_prefix_removes_links_and_not_what_they_lead_to(tmp_path: Path, outside: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    store.create("jobs/j/work/1", b"x")
    folder = tmp_path / "store" / "jobs" / "j"
    (folder / "data").symlink_to(outside)
    (folder / "work" / "file").symlink_to(outside / "thesis.txt")
    (folder / "broken").symlink_to(tmp_path / "nowhere")
    store.delete_prefix("jobs/j/")
    assert files(outside) == OUTSIDE
    assert not folder.exists()


@pytest.mark.parametrize("link", ["jobs/j", "jobs"])
def test_a_folder_of_a_job_that_is_a_link_is_refused_wherever_it_would_be_changed(
    link: str, tmp_path: Path, outside: Path
) -> None:
    root = tmp_path / "store"
    (root / link).parent.mkdir(parents=True)
    (outside / "j").mkdir()
    (root / link).symlink_to(outside)
    store = open_store(str(root))
    before = sorted(outside.rglob("*"))
    with pytest.raises(StoreError, match="is a symbolic link, and a store follows none"):
        store.delete_prefix("jobs/j/")
    for change in (
        lambda: store.create("jobs/j/spec.json", b"x"),
        lambda: store.delete(["jobs/j/thesis.txt"]),
        lambda: list(store.list("jobs/j/")),
    ):
        with pytest.raises(StoreError, match="is a symbolic link, and a store follows none"):
            change()
    assert sorted(outside.rglob("*")) == before


def test_a_copy_is_not_written_through_a_link(tmp_path: Path, outside: Path) -> None:
    source, volume = DirectoryStore(str(tmp_path / "source")), DirectoryStore(str(tmp_path / "volume"))
    source.create("jobs/j/params/1", b"x")
    (tmp_path / "volume" / "jobs").mkdir(parents=True)
    (tmp_path / "volume" / "jobs" / "j").symlink_to(outside)
    with source.open("jobs/j/params/1") as reader, pytest.raises(StoreError, match="symbolic link"):
        volume.copy("jobs/j/params/1", reader)
    assert files(outside) == OUTSIDE


def test_a_link_is_no_object(tmp_path: Path, outside: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    store.create("jobs/j/one", b"x")
    (tmp_path / "store" / "jobs" / "j" / "two").symlink_to(outside / "thesis.txt")
    (tmp_path / "store" / "jobs" / "j" / "three").symlink_to(outside)
    assert [each.key for each in store.list("jobs/j/")] == ["jobs/j/one"]
    assert [each.key for each in store.list("jobs/j/", shallow=True)] == ["jobs/j/one"]
    assert not store.exists("jobs/j/two")
    with pytest.raises(StoreError, match="symbolic link, which a store does not follow"):
        store.read("jobs/j/two")
    with pytest.raises(StoreError, match="symbolic link, which a store does not follow"):
        store.open("jobs/j/two")


def test_temporary_files_are_neither_made_nor_swept_through_a_link(tmp_path: Path, outside: Path) -> None:
    root = tmp_path / "store"
    root.mkdir()
    (root / ".tmp").symlink_to(outside)
    store = open_store(str(root))
    assert files(outside) == OUTSIDE
    with pytest.raises(StoreError, match="symbolic link"):
        store.create("key", b"x")
    assert files(outside) == OUTSIDE


def test_a_root_may_be_a_link_because_the_user_named_it(tmp_path: Path, outside: Path) -> None:
    (tmp_path / "store").symlink_to(outside)
    store = open_store(str(tmp_path / "store"))
    assert store.create("jobs/j/one", b"x")
    assert bytes(store.read("jobs/j/one")) == b"x"
    store.delete_prefix("jobs/")
    assert files(outside) == OUTSIDE


def test_one_of_several_processes_wins(tmp_path: Path) -> None:
    program = (
        "import sys; from sapflow.objects.stores.factory import open_store\n"
        "store = open_store(sys.argv[1]); print('ready', flush=True); sys.stdin.readline()\n"
        "print([store.create(f'work/{turn}/key', sys.argv[2].encode() * 50_000) for turn in range(20)])"
    )
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in "abc"
    ]
    for writer in writers:
        assert writer.stdout
        assert writer.stdout.readline() == "ready\n"
    with ThreadPoolExecutor(3) as threads:
        outputs = list(threads.map(lambda writer: writer.communicate("go\n", timeout=60)[0], writers))
    won = [[word == "True" for word in output.strip("[]\n").split(", ")] for output in outputs]
    store = open_store(str(tmp_path))
    for turn, results in enumerate(zip(*won, strict=True)):
        assert sum(results) == 1
        assert bytes(store.read(f"work/{turn}/key")) == b"abc"[results.index(True) :][:1] * 50_000


def test_a_writer_killed_in_the_middle_leaves_no_object_and_its_file_goes_at_the_next_open(
    tmp_path: Path,
) -> None:
    program = (
        "import resource, signal, sys; from sapflow.objects.stores.factory import open_store\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "open_store(sys.argv[1]).create('key', bytes(1_000_000))"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert killed.returncode < 0
    assert len(files(tmp_path)) == 1
    store = open_store(str(tmp_path))
    assert files(tmp_path) == []
    assert not store.exists("key")
    assert store.create("key", b"x")


def test_the_file_of_a_living_writer_stays_when_another_opens_the_store(tmp_path: Path) -> None:
    temporary = tmp_path / ".tmp" / "of-another-machine"
    temporary.parent.mkdir()
    with temporary.open("wb") as living:
        fcntl.flock(living, fcntl.LOCK_EX)
        open_store(str(tmp_path))
        assert temporary.exists()
    open_store(str(tmp_path))
    assert not temporary.exists()


def test_a_file_swept_away_under_a_writer_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[Store] = []
    lock = fcntl.flock

    def sweep_first(file: int, how: int) -> None:
        if not swept:
            swept.append(open_store(str(tmp_path)))
        lock(file, how)

    monkeypatch.setattr(
        fcntl, "flock", lambda file, how: (sweep_first if how == fcntl.LOCK_EX else lock)(file, how)
    )
    assert open_store(str(tmp_path)).create("key", b"x")
    assert swept
    assert files(tmp_path) == ["key"]


def test_empty_folders_go_with_their_last_object(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.create("jobs/a/work/1-x/0-0.0", b"")
    store.create("jobs/a/spec.json", b"")
    store.delete(["jobs/a/work/1-x/0-0.0"])
    assert [path.name for path in (tmp_path / "jobs/a").iterdir()] == ["spec.json"]


def test_writers_and_a_deleter_of_the_same_folder_do_not_disturb_each_other(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))

    def write(thread: int) -> int:
        return sum(store.create(f"jobs/a/{turn % 3}/{thread}-{turn}", b"x") for turn in range(200))

    def delete(thread: int) -> int:
        for turn in range(200):
            store.delete([f"jobs/a/{turn % 3}/{thread}-{turn}"])
        return 200

    with ThreadPoolExecutor(4) as threads:
        runs = [threads.submit(job, thread) for thread in range(2) for job in (write, delete)]
        assert [run.result() for run in runs] == [200] * 4


def test_durable_objects_are_synced_with_every_folder_above_them_and_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda file: synced.append(str(Path(f"/proc/self/fd/{file}").readlink()))
    )
    store = open_store(str(tmp_path))
    store.create("jobs/a/params", b"x")
    assert synced == []
    store.create("jobs/a/commits/1.json", b"x", durable=True)
    assert synced[1:] == [str(tmp_path / folder) for folder in ("jobs/a/commits", "jobs/a", "jobs", "")]
    assert synced[0].startswith(str(tmp_path / ".tmp"))
