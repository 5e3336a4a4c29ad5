"""docs/versions.md is a session that runs, and what it says of its commands is so."""

import json
import re
import shlex
from pathlib import Path

import pytest
from helpers.commands import Shell

from sapflow.objects import safetensor

PAGE = Path(__file__).resolve().parents[2] / "docs" / "versions.md"
BLOCK = re.compile(
    r"^```(?:yaml file=(?P<file>\S+)|(?P<shell>sh)(?: status=(?P<status>\d))?)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


@pytest.mark.timeout(600)
def test_the_page_runs_from_its_beginning_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shell, said = Shell(capsys), dict[str, str]()
    for block in BLOCK.finditer(PAGE.read_text(encoding="utf-8")):
        if block["file"]:
            Path(block["file"]).write_text(block["text"])
            continue
        for line in block["text"].splitlines():
            name, *words = shlex.split(line, comments=True)
            assert name == "sapflow"
            done = shell(*words)
            assert done.code == int(block["status"] or 0), f"{line}: {done.err}"
            said[line] = done.out
    assert (
        "begins at version 8 of digits-"
        in said["sapflow fork digits.yaml@8 --set spec.optimizer.learningRate=0.01 -o slower.yaml"]
    )
    assert re.search(
        r"^digits-\w+: 3 versions the same$",
        said["sapflow verify digits.yaml --versions 10..12"],
        re.MULTILINE,
    )
    assert re.search(
        r"^digits-v8-\w+: 4 versions the same$", said["sapflow verify slower.yaml"], re.MULTILINE
    )
    assert "part at version 9" in said["sapflow diff digits.yaml slower.yaml"]
    assert "spec: spec.optimizer.learningRate: 0.1 and 0.01" in said["sapflow diff digits.yaml slower.yaml"]
    (model,) = tmp_path.glob(".sapflow/jobs/digits-v8-*/result/model.safetensors")
    found = json.loads(safetensor.decode(memoryview(model.read_bytes()))[1]["provenance"])
    assert (found["version"], sorted(found)) == (12, ["data", "numerics", "seed", "updates", "version"])
