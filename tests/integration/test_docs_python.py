"""docs/python.md is a script that runs, and what it says of its output is so."""

import json
import os
import re
import subprocess
import sys
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from helpers.cluster_api import cluster_api, pod, searched, succeeded, trainingjob, trial, tuningjob

from sapflow.client import predict
from sapflow.client.session import jobs_in

PAGE = Path(__file__).resolve().parents[2] / "docs" / "python.md"
CODE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.timeout(900)
def test_the_page_runs_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    script = tmp_path / "page.py"
    pieces = CODE.findall(PAGE.read_text(encoding="utf-8"))
    script.write_text("\n".join([*pieces, "print(same.to_yaml())"]))
    with cluster_api() as api:
        done_job = trainingjob("digits", **succeeded("f00d"))
        done_job["metadata"]["uid"] = "uid"  # as the server gives it to what is submitted
        api.watches["trainingjobs"] = deque([[{"type": "MODIFIED", "object": done_job}]])
        search = tuningjob("digits", **searched())
        search["metadata"]["uid"] = "uid"
        api.watches["tuningjobs"] = deque([[{"type": "MODIFIED", "object": search}]])
        api.put(trial(7, search="digits", objective=0.85))
        api.pods["team"] = [pod("driver-a", phase="Succeeded")]
        api.logs["driver-a"] = deque([['{"event": "succeeded"}']])
        environ = {**os.environ, "KUBECONFIG": str(api.kubeconfig(tmp_path)), "PYTHONPATH": ""}
        done = subprocess.run(
            [sys.executable, str(script)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environ,
            timeout=850,
            check=False,
        )
        deleted = not api.jobs and not api.searches
    assert not done.stderr, done.stderr
    assert done.returncode == 0
    words = done.stdout
    assert re.search(r"^step 1 of \d+: loss \d\.\d{3}$", words, re.MULTILINE)
    assert "% of held-out digits are right; the model is " in words
    assert "spec.algorithm.epoch: is not a field (do you mean epochs?); allowed: " in words
    assert "(1): Residual(" in words
    assert "Succeeded True\n" in words, "a finished job is found again"
    assert re.search(
        r"^<TrainingJob own: sapflow_model_\w+:build on memory:\w+, 2 workers>$", words, re.MULTILINE
    )
    assert "Succeeded s3://sapflow/jobs/uid/result/model.safetensors f00d\n" in words
    assert '{"event": "succeeded"}\n' in words
    assert "7 {'spec.optimizer.learningRate': 0.125, 'spec.optimizer.name': 'Adam'} 0.85 s3://" in words
    assert "7 Finished 0.85 {'spec.optimizer.learningRate': 0.125" in words
    assert deleted
    assert "</html>" in (tmp_path / "report.html").read_text()
    names = jobs_in(str(tmp_path / ".sapflow")) or []
    assert [name.rpartition("-")[0] for name in names] == ["arrays", "digits", "own", "raw"]
    model = predict.load(tmp_path / ".sapflow" / "jobs" / names[0] / "result" / "model.safetensors")
    assert model.predict(np.zeros((1, 6))).shape == (1,)
    table = re.search(r"source: (memory:\w+)", words)
    spec = json.loads((tmp_path / ".sapflow" / "jobs" / names[0] / "spec.json").read_text())["spec"]
    assert table is not None
    assert table[1] == spec["data"]["source"], "the table holds the arrays' samples"


def test_the_page_names_no_method_that_there_is_not() -> None:
    import sapflow

    text = PAGE.read_text(encoding="utf-8")
    for name in re.findall(r"\brun\.(\w+)", text):
        assert hasattr(sapflow.Run, name), name
    for name in re.findall(r"\bsearch\.(\w+)", text):
        assert hasattr(sapflow.ClusterSearch, name), name
    for name in re.findall(r"\bsapflow\.([A-Za-z]\w*)", text):
        assert name in sapflow.__all__, name
