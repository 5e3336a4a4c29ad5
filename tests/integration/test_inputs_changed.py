"""Jobs whose code or data is no longer what they were begun with."""

import itertools
import json
import os
import shutil
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import Shell

import sapflow
from sapflow.client.session import Session, uid_of
from sapflow.data import cut, fingerprint
from sapflow.data.blocks import load_manifest
from sapflow.data.manifest import manifest_key
from sapflow.errors import InputsChanged
from sapflow.messages.documents import Document
from sapflow.objects import keys
from sapflow.objects.stores.factory import open_store
from sapflow.spec import source_code
from sapflow.spec.document import parse
from sapflow.training.loaded import JobCache

pytestmark = pytest.mark.usefixtures("forked_functions")
SECONDS = itertools.count(1_700_000_000)
MODEL = """\
    import torch
    import layers

    class Net(torch.nn.Module):
        def __init__(self, inputs, outputs):
            super().__init__()
            self.a, self.b = torch.nn.Linear(inputs, layers.WIDTH), torch.nn.Linear(layers.WIDTH, outputs)

        def forward(self, x):
            return self.b(torch.relu(self.a(x)))

    def build(inputs, outputs):
        return Net(inputs[0], outputs)
"""


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a job, its model and its data."""
    place = tmp_path / "first"
    place.mkdir()
    write_data(place, seed=1)
    write_code(place / "layers.py", "WIDTH = 4\n")
    write_code(place / "my_model.py", textwrap.dedent(MODEL))
    write_job(place)
    monkeypatch.chdir(place)
    return place


def write_code(file: Path, text: str) -> None:
    """Each content gets a second of its own: Python knows what it has compiled by second and size."""
    file.write_text(text)
    second = next(SECONDS)
    os.utime(file, (second, second))


def write_data(folder: Path, seed: int, rows: int = 40) -> None:
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 3))
    lines = [f"{a:+.6f},{b:+.6f},{c:+.6f},{int(a > 0)}" for a, b, c in x]
    (folder / "samples.csv").write_text("\n".join(["a,b,c,label", *lines]) + "\n")


def write_job(folder: Path, **changes: Any) -> None:
    spec: dict[str, Any] = {
        "model": {"entrypoint": "my_model:build"},
        "data": {"source": "./samples.csv", "options": {"target": "label"}, "batchSize": 8},
        "workers": 1,
        "algorithm": {"steps": 2},
        **changes,
    }
    body = {
        "apiVersion": "sapflow.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": "j"},
        "spec": spec,
    }
    (folder / "job.yaml").write_text(json.dumps(body))


def run(shell: Shell, *options: Any) -> Any:
    return shell("run", "job.yaml", "--store", "../store", "--json", "--max-instances", 1, *options)


def error(done: Any) -> dict[str, Any]:
    found: dict[str, Any] = done.json["error"]
    return found


def test_the_same_yaml_with_other_data_is_refused_also_when_it_has_finished(
    folder: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(shell).json["sha256"]
    second = folder.parent / "second"
    shutil.copytree(folder, second)
    write_data(second, seed=2)
    monkeypatch.chdir(second)
    refused = run(shell)
    assert refused.code != 0
    assert error(refused)["reason"] == "InputsChanged"
    assert "samples.csv (changed)" in error(refused)["message"]
    assert "--again" in error(refused)["message"]
    again = run(shell, "--again")
    assert again.code == 0
    assert again.json["sha256"] != first
    assert run(shell).json["sha256"] == again.json["sha256"]


def test_a_file_that_was_only_touched_or_copied_is_the_same(folder: Path, shell: Shell) -> None:
    first = run(shell).json["sha256"]
    os.utime(folder / "samples.csv", (1, 1))
    (folder / "samples.csv").rename(folder / "moved")
    shutil.copy(folder / "moved", folder / "samples.csv")
    again = run(shell)
    assert again.code == 0
    assert again.json["sha256"] == first


def test_data_that_is_gone_is_no_change(folder: Path, shell: Shell) -> None:
    first = run(shell).json["sha256"]
    (folder / "samples.csv").unlink()
    assert run(shell).json["sha256"] == first


@pytest.mark.parametrize("module", ["my_model", "layers"])
def test_other_code_is_refused_and_named(module: str, folder: Path, shell: Shell) -> None:
    first = run(shell).json["sha256"]
    file = folder / f"{module}.py"
    before = file.read_text()
    write_code(file, before.replace("relu", "tanh").replace("WIDTH = 4", "WIDTH = 5"))
    refused = run(shell)
    assert error(refused)["reason"] == "InputsChanged"
    assert f"{module} (changed)" in error(refused)["message"]
    write_code(file, before)
    assert run(shell).json["sha256"] == first
    write_code(file, before.replace("relu", "tanh").replace("WIDTH = 4", "WIDTH = 5"))
    assert run(shell, "--again").json["sha256"] != first


def test_a_model_that_failed_and_was_corrected_says_how_to_begin_anew(folder: Path, shell: Shell) -> None:
    """The first run fails behind version 0; the model is corrected and widened."""
    good = (folder / "my_model.py").read_text()
    fault = "def forward(self, x):\n        if self.training and len(x) > 2:\n            raise ValueError('mine')"
    write_code(folder / "my_model.py", good.replace("def forward(self, x):", fault))
    assert run(shell).code != 0
    write_code(folder / "my_model.py", good)
    write_code(folder / "layers.py", "WIDTH = 6\n")
    done = run(shell)
    assert error(done)["reason"] == "InputsChanged"
    assert "--again" in error(done)["message"]
    assert run(shell, "--again").code == 0


def test_data_that_was_mended_before_there_was_a_version_is_cut_anew(folder: Path, shell: Shell) -> None:
    write_job(folder, data={"source": "./samples.csv", "options": {"target": "label"}, "batchSize": 8},
              optimizer={"name": "SGD", "groups": [{"match": ["nothing.*"], "weightDecay": 0.1}]})  # fmt: skip
    assert run(shell).code != 0
    job = parse(json.loads((folder / "job.yaml").read_text()), "local")
    store = open_store(str(folder.parent / "store"))
    session = Session(uid_of(job), job, store, "")
    before = session.resolved.data_prefix
    assert not session.started()
    write_data(folder, seed=2, rows=50)
    assert run(shell).code != 0
    manifest = load_manifest(store, manifest_key(session.resolved.data_prefix))
    assert manifest.train_samples == 40
    assert list(store.list(before)) == []


def test_a_cut_that_was_interrupted_is_begun_anew_with_mended_data(folder: Path) -> None:
    job = parse(json.loads((folder / "job.yaml").read_text()), "local")
    store = open_store(str(folder.parent / "store"))
    session = Session("u", job, store, "")
    session.cut_data()
    prefix = session.resolved.data_prefix
    blocks = {part: bytes(store.read(f"{prefix}{part}/0")) for part in ("train", "validation")}
    store.delete([manifest_key(prefix)])
    write_data(folder, seed=2)
    manifest = session.cut_data()
    assert manifest.train_samples == 32
    for part, before in blocks.items():
        assert bytes(store.read(f"{session.resolved.data_prefix}{part}/0")) != before
    assert cut.changed_files(session.resolved, store) == []


def test_python_refuses_what_the_command_line_refuses(folder: Path) -> None:
    job = sapflow.TrainingJob.from_yaml(folder / "job.yaml")
    store = folder.parent / "store"
    first = sapflow.run(job, store=store, progress=False).result.sha256
    write_data(folder, seed=2)
    with pytest.raises(InputsChanged, match=r"samples\.csv \(changed\)"):
        sapflow.run(job, store=store, progress=False)
    assert sapflow.run(job, store=store, progress=False, again=True).result.sha256 != first


def test_a_function_refuses_a_job_that_other_code_began(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a cluster an image's tag may be pushed again: only the function sees its own code."""
    monkeypatch.syspath_prepend(str(folder))
    job = parse(json.loads((folder / "job.yaml").read_text()), "local")
    store = open_store(str(folder.parent / "store"))
    session = Session("u", job, store, "")
    session.cut_data()
    prefix = session.prefix
    spec, manifest = (
        Document.of(key, store.read(key))
        for key in (keys.spec(prefix), manifest_key(session.resolved.data_prefix))
    )
    modules = dict(JobCache(store).get(spec, manifest).modules)
    assert sorted(modules) == ["layers", "my_model"]
    fingerprint_now = source_code.fingerprint(modules)
    JobCache(store).get(spec, manifest, fingerprint_now)
    other = {**modules, "layers": "0" * 64}
    store.create(keys.commit(prefix, 0), json.dumps({"code": other}).encode())
    with pytest.raises(InputsChanged, match=r"layers \(changed\)"):
        JobCache(store).get(spec, manifest, source_code.fingerprint(other))


def test_the_record_names_every_difference(folder: Path) -> None:
    (folder / "b.csv").write_text("a,b,c,label\n1,2,3,0\n")
    from sapflow.data.source_files import used_files

    before = fingerprint.describe(used_files(".", "csv")[1])
    (folder / "b.csv").write_text("a,b,c,label\n1,2,3,0\n4,5,6,1\n")
    (folder / "c.csv").write_text("a,b,c,label\n")
    (folder / "samples.csv").unlink()
    said = fingerprint.differences(before, used_files(".", "csv")[1])
    assert said == ["b.csv (20 bytes then, 28 now)", "c.csv (new)", "samples.csv (gone)"]
