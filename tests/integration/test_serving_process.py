"""A serving process, asked by two clients that nobody here wrote; what it loads; how it starts, fails and ends."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.served import Files, flights, late_files, plain_files, profile_of
from helpers.server_process import TOKEN, ServerProcess, document

from sapflow.serving.golden import GoldenRows, rows_of
from sapflow.serving.served_model import ServedModel

CLIENTS_WARN = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return late_files(tmp_path_factory.mktemp("late"))


@pytest.fixture(scope="module")
def server(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = files.write(tmp_path_factory.mktemp("served")).parent
    with ServerProcess(folder, document(decision={"answer": "Probabilities"})) as process:
        yield process


def rows(count: int) -> list[dict[str, Any]]:
    return [{name: row[name] for name in ("delay", "distance", "carrier", "hour")} for row in flights(count)]


@CLIENTS_WARN
def test_tritonclient_is_answered_in_binary_and_in_json(server: ServerProcess) -> None:
    http, utils = pytest.importorskip("tritonclient.http"), pytest.importorskip("tritonclient.utils")
    client = http.InferenceServerClient(f"127.0.0.1:{server.port}")
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("late", headers=headers)
    assert client.get_server_metadata(headers=headers)["name"] == "sapflow"
    assert client.get_model_config("late", headers=headers)["name"] == "late"
    metadata = client.get_model_metadata("late", "1", headers=headers)
    given = rows(7)
    inputs = []
    for each in metadata["inputs"]:
        if each["name"] not in given[0]:
            continue
        values = [row[each["name"]] for row in given]
        tensor = http.InferInput(each["name"], [7], each["datatype"])
        array = (
            np.array(["" if value is None else value for value in values], object)
            if each["datatype"] == "BYTES"
            else np.array([np.nan if value is None else value for value in values], np.float64)
        )
        tensor.set_data_from_numpy(array, binary_data=True)
        inputs.append(tensor)
    expected = server.post("/predict", given)["decisions"]
    for binary in (True, False):
        asked = [http.InferRequestedOutput(each["name"], binary_data=binary) for each in metadata["outputs"]]
        for outputs in (asked, None):
            answer = client.infer("late", inputs, outputs=outputs, request_id="9", headers=headers)
            labels = [each.decode() if isinstance(each, bytes) else each for each in answer.as_numpy("label")]
            assert labels == [each["label"] for each in expected]
            chances = answer.as_numpy("probabilities")
            assert chances.tolist() == [[*each["probabilities"].values()] for each in expected]
            assert answer.get_response()["id"] == "9"
    # This client writes into the headers that it is given.
    compressed = client.infer("late", inputs, request_compression_algorithm="gzip", headers={**headers})
    assert compressed.as_numpy("probability").tolist() == [each["probability"] for each in expected]
    with pytest.raises(utils.InferenceServerException, match="lacks the column"):
        client.infer("late", inputs[:1], headers=headers)
    client.close()


@CLIENTS_WARN
def test_the_generated_client_of_the_protocol_is_answered(server: ServerProcess) -> None:
    generated = pytest.importorskip("open_inference.openapi.client")
    httpx = pytest.importorskip("httpx")
    with httpx.Client(
        base_url=f"http://127.0.0.1:{server.port}", headers={"Authorization": f"Bearer {TOKEN}"}
    ) as transport:
        client = generated.OpenInferenceClient(
            base_url=f"http://127.0.0.1:{server.port}", httpx_client=transport
        )
        client.check_server_liveness()
        client.check_server_readiness()
        client.check_model_readiness("late")
        metadata = client.read_model_metadata("late")
        assert metadata.name == "late"
        given = rows(3)
        inputs = [
            {
                "name": name,
                "shape": [3],
                "datatype": "BYTES",
                "data": ["" if row[name] is None else str(row[name]) for row in given],
            }
            for name in given[0]
        ]
        answer = client.model_infer("late", request=generated.InferenceRequest(inputs=inputs))
    expected = server.post("/predict", given)["decisions"]
    (labels,) = [each for each in answer.outputs if each.name == "label"]
    found = labels.data
    assert list(getattr(found, "root", getattr(found, "__root__", found))) == [
        each["label"] for each in expected
    ]


def test_concurrent_callers_each_get_their_own_answers_in_order(server: ServerProcess) -> None:
    given = rows(60)
    alone = [server.post("/predict", [row])["decisions"][0] for row in given]
    with ThreadPoolExecutor(16) as pool:
        at_once = [*pool.map(lambda row: server.post("/predict", [row])["decisions"][0], given)]
    assert [each["label"] for each in at_once] == [each["label"] for each in alone]
    assert [each["probability"] for each in at_once] == pytest.approx([each["probability"] for each in alone])


def test_a_model_that_numpy_computes_loads_no_torch_and_stays_small(server: ServerProcess) -> None:
    assert "libtorch" not in server.libraries
    assert server.resident_mib < 90


def test_a_process_ends_by_itself_once_it_is_told_to(files: Files, tmp_path: Path) -> None:
    folder = files.write(tmp_path).parent
    with ServerProcess(folder, document(asksToken=False)) as process:
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(20) == 0


def golden(files: Files, model: ServedModel) -> GoldenRows:
    profile = profile_of(model, flights(8))
    return GoldenRows(
        profile, model.compute(rows_of(model, profile)).outputs, sha256(files.model).hexdigest()
    )


def test_a_process_that_fails_its_golden_rows_exits_before_it_listens(files: Files, tmp_path: Path) -> None:
    folder = files.write(tmp_path).parent
    rows = golden(files, files.served())
    (folder / "golden.safetensors").write_bytes(rows.encode())
    process = ServerProcess(folder, document(needsGoldenRows=True))
    with process:
        pass
    assert '"goldenRows": 8' in process.log
    wrong = replace(rows, outputs=rows.outputs + np.float32(0.01))
    (folder / "golden.safetensors").write_bytes(wrong.encode())
    failed = ServerProcess(folder)
    assert failed.exit_code == 3
    assert failed.termination.startswith("GoldenRowsFailed: golden row 0 gives the outputs")
    (folder / "golden.safetensors").unlink()
    lacking = ServerProcess(folder, document(needsGoldenRows=True))
    assert lacking.exit_code == 3
    assert "no golden rows beside" in lacking.termination


@pytest.mark.parametrize(
    ("served", "words"),
    [
        (document(sha256="0" * 64), "somebody replaced it"),
        (document(key="other.safetensors"), "other.safetensors"),
        (document(decision={"thresholds": {"maybe": 0.5}}), "names maybe, which is no class"),
        ({"name": "late"}, "SAPFLOW_SERVICE_FILE: version: Field required"),
    ],
)
def test_what_cannot_be_served_is_told_at_the_start(
    files: Files, tmp_path: Path, served: Any, words: str
) -> None:
    failed = ServerProcess(files.write(tmp_path).parent, served)
    assert failed.exit_code == 2
    assert words in failed.termination


def test_a_model_that_needs_torch_is_served_in_the_same_way(tmp_path: Path) -> None:
    files = plain_files(name="lenet")
    with ServerProcess(files.write(tmp_path).parent, document()) as process:
        found = process.post("/predict", [[0.5] * 256])["decisions"]
        assert found[0]["label"] in (0, 1, 2)
