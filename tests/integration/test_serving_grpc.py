"""The Open Inference Protocol over gRPC, asked by a client that nobody here wrote."""

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from helpers.served import flights, late_files
from helpers.server_process import TOKEN, ServerProcess, document

from sapflow.errors import SpecError
from sapflow.serving.metrics import ServerMetrics
from sapflow.spec.serving.serve import ServeLimitsSpec
from sapflow_functions.grpc_server import GrpcServer
from sapflow_functions.server_settings import ServerSettings

grpcclient = pytest.importorskip("tritonclient.grpc")
utils = pytest.importorskip("tritonclient.utils")
pytest.importorskip("grpc")

HEADERS = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found: int = listener.getsockname()[1]
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[ServerProcess]:
    folder = late_files(tmp_path_factory.mktemp("late")).write(tmp_path_factory.mktemp("served")).parent
    served = document(decision={"answer": "Probabilities", "message": "{label}"}, limits={"rows": 50})
    with ServerProcess(folder, served, SAPFLOW_GRPC_PORT=str(port)) as process:
        yield process


@pytest.fixture
def client(server: ServerProcess, port: int) -> Iterator[Any]:
    found = grpcclient.InferenceServerClient(f"127.0.0.1:{port}")
    yield found
    found.close()


def rows(count: int) -> list[dict[str, Any]]:
    return [{name: row[name] for name in ("delay", "distance", "carrier", "hour")} for row in flights(count)]


def tensors(given: list[dict[str, Any]]) -> list[Any]:
    inputs = []
    for name in given[0]:
        values = [row[name] for row in given]
        if name in ("delay", "distance"):
            array = np.array([np.nan if each is None else each for each in values], np.float64)
            tensor = grpcclient.InferInput(name, [len(given)], "FP64")
        else:
            array = np.array(values, object)
            tensor = grpcclient.InferInput(name, [len(given)], "BYTES")
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    return inputs


def test_kubelets_and_proxies_are_told_of_its_health(server: ServerProcess, port: int) -> None:
    import grpc

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"", timeout=30) == b"\x08\x01", "SERVING"


def test_http_has_a_port_of_its_own_where_knatives_is_that_of_grpc(tmp_path: Path) -> None:
    file = tmp_path / "service.json"
    file.write_text(json.dumps(document()))
    given = {"SAPFLOW_SERVICE_FILE": str(file), "SAPFLOW_STORE": "file:///nowhere", "SAPFLOW_TOKEN": TOKEN}
    ports = {"PORT": "8080", "SAPFLOW_HTTP_PORT": "8081", "SAPFLOW_GRPC_PORT": "8080"}
    settings = ServerSettings.read([], given | ports)
    assert (settings.port, settings.grpc_port) == (8081, 8080)
    with pytest.raises(SpecError, match="PORT: is 'none'"):
        ServerSettings.read([], given | ports | {"SAPFLOW_HTTP_PORT": "none"})


def test_metadata_and_readiness_are_told(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("late", "1", headers=HEADERS)
    assert client.get_server_metadata(headers=HEADERS).name == "sapflow"
    told = client.get_model_metadata("late", headers=HEADERS)
    assert {each.name: (each.datatype, list(each.shape)) for each in told.inputs}["delay"] == ("FP64", [-1])
    assert "message" in {each.name for each in told.outputs}


def test_decisions_are_those_of_http(client: Any, server: ServerProcess) -> None:
    given = rows(7)
    expected = server.post("/predict", given)["decisions"]
    for asked in (
        None,
        [grpcclient.InferRequestedOutput("label"), grpcclient.InferRequestedOutput("probabilities")],
    ):
        answer = client.infer("late", tensors(given), outputs=asked, request_id="5", headers=HEADERS)
        assert [each.decode() for each in answer.as_numpy("label")] == [each["label"] for each in expected]
        assert answer.as_numpy("probabilities").tolist() == [
            [*each["probabilities"].values()] for each in expected
        ]
        assert answer.get_response().id == "5"


def test_typed_contents_are_taken_as_raw_ones(client: Any, port: int, server: ServerProcess) -> None:
    import grpc
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    given = rows(3)
    request = service_pb2.ModelInferRequest(model_name="late", id="6")
    for name in given[0]:
        values = [row[name] for row in given]
        tensor = request.inputs.add(name=name, shape=[3])
        if name == "delay":
            tensor.datatype = "FP32"
            tensor.contents.fp32_contents.extend(np.nan if each is None else each for each in values)
        elif name == "distance":
            tensor.datatype = "INT64"
            tensor.contents.int64_contents.extend(values)
        else:
            tensor.datatype = "BYTES"
            tensor.contents.bytes_contents.extend(each.encode() for each in values)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        answer = stub.ModelInfer(request, metadata=[*HEADERS.items()])
    labels = answer.raw_output_contents[[each.name for each in answer.outputs].index("label")]
    told = server.post("/predict", given)["decisions"]
    assert all(each["label"].encode() in labels for each in told)
    assert (answer.model_name, answer.id) == ("late", "6")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"headers": {}}, "bearer token"),
        ({"model_name": "other"}, "no model 'other'"),
        ({"model_version": "9"}, "no version '9'"),
        ({"inputs": 2}, "lacks the column"),
        ({"count": 51}, "limits.rows"),
    ],
)
def test_what_cannot_be_answered_is_told(client: Any, change: dict[str, Any], words: str) -> None:
    inputs = tensors(rows(change.get("count", 2)))[: change.get("inputs", 4)]
    with pytest.raises(utils.InferenceServerException, match=words):
        client.infer(
            change.get("model_name", "late"),
            inputs,
            model_version=change.get("model_version", ""),
            headers=change.get("headers", HEADERS),
        )


def test_bytes_that_are_no_message_are_refused(port: int, server: ServerProcess) -> None:
    import grpc

    random = np.random.default_rng(4)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        for length in range(1, 200):
            with pytest.raises(grpc.RpcError) as caught:
                ask(random.bytes(length), metadata=[*HEADERS.items()])
            assert caught.value.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
    assert server.process.poll() is None


class Slow:
    """As much of a server as a request needs that is not answered soon."""

    def __init__(self) -> None:
        self.metrics, self.limits, self.ready = ServerMetrics(), ServeLimitsSpec(), True

    def check_caller(self, authorization: str) -> None:
        pass


def test_a_caller_that_gives_up_is_no_error_of_the_server() -> None:
    import grpc

    slow = Slow()

    async def work() -> None:
        served = GrpcServer(cast(Any, slow), "127.0.0.1", 0)

        async def wait(request: bytes) -> bytes:
            await asyncio.sleep(60)
            return b""

        served._methods["ServerMetadata"] = wait
        async with served, grpc.aio.insecure_channel(f"127.0.0.1:{served.port}") as channel:
            ask = channel.unary_unary("/inference.GRPCInferenceService/ServerMetadata")
            with pytest.raises(grpc.aio.AioRpcError):
                await ask(b"", timeout=0.5)
            while not slow.metrics.requests:
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(work(), 60))
    assert [*slow.metrics.requests] == [("grpcServerMetadata", 499)]
