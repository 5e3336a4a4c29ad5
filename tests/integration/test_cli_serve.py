"""`sapflow serve`, and what asks it: `sapflow predict --url` and `sapflow.Served`."""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.served import Files, csv_of, flights, late_files, plain_files

import sapflow
from sapflow.cli import main
from sapflow.cli.serve import _tell
from sapflow.client.answering import ServableModel
from sapflow.client.served import NotAnswered
from sapflow.errors import DataError

SERVICE = """
apiVersion: sapflow.dev/v1alpha1
kind: ModelService
metadata: {name: late}
spec:
  model: {job: late}
  decision: {message: "{row.carrier} is {label}"}
  limits: {rows: 20}
"""


class Serving:
    """`sapflow serve` with these arguments, listening. Use as a context manager."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "sapflow", "serve", *arguments, "--port", "0", "--json"]
        self.process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.told: dict[str, Any] = json.loads(line) if line else {}

    @property
    def url(self) -> str:
        return str(self.told["url"])

    def stop(self) -> int:
        """Its exit code after Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)

    def __enter__(self) -> "Serving":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served")
    files: Files = late_files(path)
    files.write(path / "result")
    (path / "service.yaml").write_text(SERVICE)
    return path


@pytest.fixture(scope="module")
def serving(folder: Path) -> Iterator[Serving]:
    model = str(folder / "result" / "model.safetensors")
    with Serving(folder, model, "--service", "service.yaml", "--token", "secret") as found:
        assert found.told["model"] == "model"
        yield found
        assert found.stop() == 130


def rows(count: int) -> list[dict[str, Any]]:
    return [{name: each for name, each in row.items() if name != "late"} for row in flights(count)]


def test_rows_are_decided_from_python(serving: Serving) -> None:
    served = sapflow.Served(serving.url, "secret")
    made = served.predict(rows(3))
    assert [each["message"] for each in made] == [
        f"{row['carrier']} is {each['label']}" for row, each in zip(rows(3), made, strict=True)
    ]
    assert served.predict_csv(csv_of(flights(3))) == made
    assert served.metadata()["info"]["title"] == "model"


def test_a_refusal_is_raised_with_its_words(serving: Serving) -> None:
    served = sapflow.Served(serving.url, "secret")
    with pytest.raises(DataError, match="row 0, column delay: 'late' is not a number"):
        served.predict([{**rows(1)[0], "delay": "late"}])
    with pytest.raises(DataError, match=r"limits\.rows"):
        served.predict(rows(21))
    with pytest.raises(DataError, match="bearer token"):
        sapflow.Served(serving.url).predict(rows(1))


def test_the_line_of_curl_that_it_prints_is_answered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As curl sends it: with the content type of a form, unless the line says another."""
    model = plain_files().write(tmp_path / "result")
    with Serving(tmp_path, str(model), "--token", "secret") as serving:
        given = argparse.Namespace(json=False, token="secret")
        _tell(given, serving.url, ServableModel("model", "1", tmp_path.as_uri(), model.name, ()))
        answered = sent_by_curl(capsys.readouterr().out)
    assert len(answered["decisions"]) == 1


def sent_by_curl(printed: str) -> Any:
    """What is answered to the command in the text."""
    (line,) = [each for each in printed.splitlines() if each.startswith("  curl ")]
    _, url, *options = shlex.split(line)
    headers = {"content-type": "application/x-www-form-urlencoded"}
    body = ""
    for flag, value in zip(options[::2], options[1::2], strict=True):
        if flag == "-H":
            name, _, content = value.partition(": ")
            headers[name.lower()] = content
        else:
            assert flag == "-d"
            body = value
    with urllib.request.urlopen(urllib.request.Request(url, body.encode(), headers), timeout=30) as answer:
        return json.load(answer)


def test_a_server_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(NotAnswered, match="is it served there"):
        sapflow.Served("http://127.0.0.1:9").predict(rows(1))
    with pytest.raises(DataError, match="give http://host:port"):
        sapflow.Served("nonsense").predict(rows(1))


@pytest.mark.parametrize("form", ["csv", "json", "jsonl"])
def test_the_command_asks_a_url(
    serving: Serving, folder: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / f"rows.{form}"
    lines = "".join(json.dumps(row) + "\n" for row in rows(4))
    file.write_text({"csv": csv_of(flights(4)), "json": json.dumps(rows(4)), "jsonl": lines}[form])
    assert main(["predict", "--url", serving.url, "--token", "secret", str(file)]) == 0
    printed = capsys.readouterr().out.splitlines()
    expected = sapflow.Served(serving.url, "secret").predict(rows(4))
    assert printed == [f"{number}: {each['message']}" for number, each in enumerate(expected)]


def test_what_cannot_be_asked_or_served_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--url", "http://127.0.0.1:9"]) == 2
    assert "one INPUT" in capsys.readouterr().err
    assert main(["predict"]) == 2
    assert "give MODEL or JOB, or --url" in capsys.readouterr().err
    assert main(["serve", "nothing.safetensors"]) == 2
    assert "there is no file nothing.safetensors" in capsys.readouterr().err
    alone = folder / "alone.safetensors"
    alone.write_bytes((folder / "result" / "model.safetensors").read_bytes())
    assert main(["serve", str(alone), "--port", "0"]) in (1, 2)
    assert "preparation.safetensors is not beside it" in capsys.readouterr().err
