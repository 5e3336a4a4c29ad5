"""Source files on a real MinIO, and blocks cut from and into it."""

from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.jobs import tiny_job
from s3_servers import S3Service, free_port

from sapflow.client.session import Session
from sapflow.data import cut, survey
from sapflow.data.blocks import cut_blocks
from sapflow.data.dealing import Deal
from sapflow.data.generate import ensure_mnist
from sapflow.data.order import Orders
from sapflow.data.remote import s3_files
from sapflow.data.sampler import Reader
from sapflow.data.source import open_source
from sapflow.data.source_files import used_files
from sapflow.errors import DataError, StoreError, StoreUnavailable
from sapflow.objects.stores.credentials import Credentials
from sapflow.objects.stores.protocol import Store
from sapflow.preparation.reading.reader import Asked
from sapflow.preparation.reading.registry import reader_of

pytestmark = pytest.mark.s3

Upload = Callable[[Path], str]


@pytest.fixture
def upload(minio: S3Service, request: pytest.FixtureRequest) -> Upload:
    """Uploads a folder; its URL. A neighbour whose name starts alike must not be read with it."""
    prefix = f"data-{request.node.name}"

    def put(folder: Path) -> str:
        with closing(minio.open()) as store:
            for path in folder.rglob("*"):
                if path.is_file():
                    store.create(f"{prefix}/set/{path.relative_to(folder)}", path.read_bytes())
            store.create(f"{prefix}/set-other/a.csv", b"7,7,7\n")
        return str(minio.url(f"{prefix}/set"))

    return put


def rows(source: str, minio: S3Service) -> np.ndarray:
    read_s3 = partial(s3_files, credentials=minio.credentials)
    return np.concatenate([chunk.features for chunk in open_source(source, read_s3=read_s3).read()])


def test_a_prefix_is_read_as_a_folder(tmp_path: Path, upload: Upload, minio: S3Service) -> None:
    (tmp_path / "b.csv").write_text("3,0\n")
    (tmp_path / "a.csv").write_text("1.5,1\n2,0\n")
    assert rows(upload(tmp_path), minio).ravel().tolist() == [1.5, 2, 3]


def test_a_key_is_read_as_a_file(tmp_path: Path, upload: Upload, minio: S3Service) -> None:
    (tmp_path / "a.csv").write_text("1,1\n")
    (tmp_path / "b.csv").write_text("3,0\n")
    path, _, query = upload(tmp_path).partition("?")
    assert rows(f"{path}/b.csv?{query}", minio).tolist() == [[3]]


@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_formats_that_seek(tmp_path: Path, upload: Upload, minio: S3Service, kind: str) -> None:
    x = np.random.default_rng(0).normal(size=(70_000, 8)).astype(np.float32)
    if kind == "npz":
        np.savez(tmp_path / "a.npz", x=x, y=np.zeros(len(x), int))
    else:
        columns = {str(index): column for index, column in enumerate(x.T)}
        pq.write_table(pa.table({**columns, "y": np.zeros(len(x), int)}), tmp_path / "a.parquet")
    np.testing.assert_array_equal(rows(upload(tmp_path), minio), x)


def test_mnist_is_cut_from_s3_into_s3(
    tmp_path: Path, upload: Upload, minio: S3Service, s3_store: Store
) -> None:
    read_s3 = partial(s3_files, credentials=minio.credentials)
    source = open_source(upload(ensure_mnist(tmp_path, 600)), read_s3=read_s3)
    manifest = cut_blocks(source, s3_store, "data/", validation_fraction=0.2, seed=0, block_bytes=1 << 18)
    assert (manifest.train_samples, manifest.validation_samples) == (600, 100)
    local = np.concatenate([c.features for c in open_source(str(tmp_path)).read() if c.part == "train"])
    whole = Orders(manifest.train, 0).locate(0, Deal(600, 600, 1).shares(0, 0))
    features, _ = Reader(s3_store, "data/", manifest).batch(whole)
    np.testing.assert_allclose(features.sum(), local.sum(dtype=np.float64) / 255, rtol=1e-5)


def test_credentials_come_from_the_environment(
    tmp_path: Path, upload: Upload, minio: S3Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.csv").write_text("1,1\n")
    url = upload(tmp_path)
    monkeypatch.setenv("SAPFLOW_S3_ACCESS_KEY", minio.credentials.access_key)
    monkeypatch.setenv("SAPFLOW_S3_SECRET_KEY", minio.credentials.secret_key)
    assert sum(len(chunk.targets) for chunk in open_source(url).read()) == 1
    monkeypatch.delenv("SAPFLOW_S3_ACCESS_KEY")
    monkeypatch.delenv("SAPFLOW_S3_SECRET_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    with pytest.raises(StoreError, match="credentials"):
        open_source(url)


def test_nothing_there_and_no_bucket_are_data_errors(minio: S3Service) -> None:
    with pytest.raises(DataError, match="no file at"):
        rows(minio.url("nothing-here"), minio)
    with pytest.raises(DataError, match="bucket 'no-such-bucket' does not exist"):
        rows(minio.url("x", bucket="no-such-bucket"), minio)


def test_wrong_credentials_are_a_data_error(minio: S3Service) -> None:
    with pytest.raises(DataError, match="InvalidAccessKeyId"):
        open_source(minio.url("x"), read_s3=partial(s3_files, credentials=Credentials("nobody", "x" * 32)))


def test_a_truncated_object_names_its_url(tmp_path: Path, upload: Upload, minio: S3Service) -> None:
    (tmp_path / "data_batch_1.bin").write_bytes(bytes(3072))
    with pytest.raises(DataError, match=r"s3://.*/set/data_batch_1\.bin has 3072 bytes"):
        rows(upload(tmp_path), minio)


def test_no_server_is_to_be_tried_again() -> None:
    url = f"s3://bucket/x?endpoint=http://127.0.0.1:{free_port()}"
    with pytest.raises(StoreUnavailable, match="gave no answer"):
        open_source(url, read_s3=partial(s3_files, credentials=Credentials("a", "b")))


def test_a_folder_is_read_alike_on_s3_and_on_this_machine(
    tmp_path: Path, upload: Upload, minio: S3Service
) -> None:
    (tmp_path / "part-0.csv").write_text("a,y\n1.5,1\n")
    for name in ("part-1.csv", "_SUCCESS"):
        (tmp_path / name).touch()
    for name in (".part-0.csv.crc", "_committed_1", ".hidden.csv"):
        (tmp_path / name).write_text("broken")
    for folder in (".ipynb_checkpoints", "_temporary", "older"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "part-0.csv").write_text("a,y\n9.5,1\n")
    for source in (str(tmp_path), f"{tmp_path}/*", f"{tmp_path}/*.csv", upload(tmp_path)):
        assert rows(source, minio).tolist() == [[1.5]]


def test_partitions_are_refused_in_words_on_s3_and_on_this_machine(
    tmp_path: Path, upload: Upload, minio: S3Service
) -> None:
    for year in (2020, 2021):
        (folder := tmp_path / f"year={year}").mkdir()
        (folder / "part-0.csv").write_text("a,y\n1.5,1\n")
    (tmp_path / "_SUCCESS").touch()
    url = upload(tmp_path)
    path, _, query = url.partition("?")
    for source in (str(tmp_path), url):
        with pytest.raises(DataError, match=r"holds partitions \(year=2020, year=2021\)"):
            rows(source, minio)
    for source in (f"{tmp_path}/year=2020", f"{path}/year=2020?{query}"):
        assert rows(source, minio).tolist() == [[1.5]]


def test_a_key_with_a_number_sign_is_read_whole(tmp_path: Path, upload: Upload, minio: S3Service) -> None:
    (tmp_path / "run#1").mkdir()
    (tmp_path / "run#1" / "a.csv").write_text("1.5,1\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "a.csv").write_text("7.5,1\n")
    path, _, query = upload(tmp_path).partition("?")
    assert rows(f"{path}/run#1?{query}", minio).tolist() == [[1.5]]


def test_both_sources_of_a_job_are_read_from_its_own_store_and_known_by_their_tags(
    tmp_path: Path, upload: Upload, minio: S3Service, s3_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", minio.credentials.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", minio.credentials.secret_key)
    (tmp_path / "train.csv").write_text("a,b,y\n" + "".join(f"{n}.5,{n % 3},{n % 2}\n" for n in range(20)))
    (tmp_path / "held.csv").write_text("y,b,a\n" + "".join(f"{n % 2},{n % 3},{n}.5\n" for n in range(6)))
    folder = upload(tmp_path).partition("?")[0]
    job = tiny_job(
        data_source=f"{folder}/train.csv",
        data_options={"target": "y"},
        data_validation={"source": f"{folder}/held.csv"},
        data_validationFraction=None,
    )
    session = Session("held", job, s3_store, "")
    manifest = session.cut_data()
    assert (manifest.columns, manifest.train_samples, manifest.validation_samples) == (("a", "b"), 20, 6)
    assert cut.changed_files(session.resolved, s3_store) == []
    key = folder.removeprefix(f"{minio.url().partition('?')[0]}/")
    with closing(minio.open()) as store:
        store.delete([f"{key}/held.csv"])
        store.create(f"{key}/held.csv", b"y,b,a\n1,2,0.5\n")
    (changed,) = cut.changed_files(session.resolved, s3_store)
    assert changed.startswith(f"{folder}/held.csv")
    said = survey.survey(job.spec.data, s3_store.url)
    assert said.manifest.validation_samples == 1


def test_raw_rows_are_read_of_folders_within_a_prefix(
    tmp_path: Path, upload: Upload, minio: S3Service
) -> None:
    for year, values in ((2012, [1.0]), (2013, [2.0, 3.0])):
        (tmp_path / f"year={year}").mkdir()
        pq.write_table(
            pa.table({"x": values}), tmp_path / f"year={year}" / "part-0.parquet", row_group_size=1
        )
    (tmp_path / ".tmp").mkdir()
    (tmp_path / ".tmp" / "part-1.parquet").write_bytes(b"half")
    read_s3 = partial(s3_files, credentials=minio.credentials)
    format, files = used_files(upload(tmp_path), read_s3=read_s3, raw=True)
    reader = reader_of(format)
    plan = reader.survey(files, Asked())
    rows = [
        row
        for number in range(len(plan.partitions))
        for parsed in reader.batches(files, plan, number)
        for row in zip(
            *(np.asarray(parsed.batch.columns[name]).tolist() for name in ("x", "year")), strict=True
        )
    ]
    assert rows == [(1.0, 2012.0), (2.0, 2013.0), (3.0, 2013.0)]
