"""The block that `sapflow inspect` prints runs as it is."""

import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers.jobs import document
from s3_servers import S3Service

from sapflow.cli import main
from sapflow.spec.yaml_text import Loader

pytestmark = pytest.mark.usefixtures("forked_functions")

ROWS = 3000


def test_the_block_to_paste_is_prepared_without_a_bad_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(4)
    delay = random.normal(5, 30, ROWS).round(1)
    late = np.where(delay + random.normal(0, 30, ROWS) > 15, "yes", "no")
    table = {
        "id": np.arange(ROWS),
        "dep_delay": np.where(random.random(ROWS) < 0.1, np.nan, delay),
        "carrier": random.choice([None, *"ABCDE"], ROWS),
        "tail": random.choice([f"N{number}" for number in range(300)], ROWS),
        "plane": random.choice([f"P{number}" for number in range(3000)], ROWS),
        "when": pd.Timestamp("2013-01-01") + pd.to_timedelta(random.integers(0, 12_000, ROWS), unit="h"),
        "seen": pd.Series(["2013-01-02"] * ROWS).mask(random.random(ROWS) < 0.5),
        "constant": 1,
        "empty": np.nan,
        "place": random.choice([10115, 20095, 80331], ROWS),
        "note": [f"a text of more words than five {number}" for number in range(ROWS)],
        "late": pd.Series(late).mask(random.random(ROWS) < 0.01),
    }
    pd.DataFrame(table).to_csv(tmp_path / "rows.csv", index=False)
    assert main(["inspect", str(tmp_path / "rows.csv"), "--target", "late"]) == 0
    _, _, block = capsys.readouterr().out.partition("to paste into the spec of a job:\n")
    data = yaml.load(block, Loader)["data"]
    job = tmp_path / "job.yaml"
    job.write_text(json.dumps(document(data=data)))
    assert main(["prepare", str(job), "--store", str(tmp_path / "store"), "--json"]) == 0
    prepared = json.loads(capsys.readouterr().out)
    assert prepared["classNames"] == ["no", "yes"]
    assert prepared["train"] + prepared["validation"] == ROWS - pd.isna(pd.Series(table["late"])).sum()
    assert {"dep_delay_missing", "when_Year", "place=10115"} <= {*prepared["columns"]}


@pytest.mark.s3
def test_a_source_in_a_bucket_is_read_as_one_on_disk(
    tmp_path: Path, minio: S3Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "x,y\n" + "".join(f"{number}.5,{'ab'[number % 2]}\n" for number in range(100))
    (tmp_path / "rows.csv").write_text(rows)
    with closing(minio.open()) as store:
        store.create("inspected/rows.csv", rows.encode())
    monkeypatch.setenv("SAPFLOW_S3_ACCESS_KEY", minio.credentials.access_key)
    monkeypatch.setenv("SAPFLOW_S3_SECRET_KEY", minio.credentials.secret_key)
    columns = []
    for source in (minio.url("inspected/"), str(tmp_path / "rows.csv")):
        assert main(["inspect", source, "--target", "y", "--json"]) == 0
        columns.append(json.loads(capsys.readouterr().out)["columns"])
    assert columns[0] == columns[1]
