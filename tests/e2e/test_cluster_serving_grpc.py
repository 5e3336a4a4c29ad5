"""A ModelService whose requests speak gRPC: to zero and back, and from version to version."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from helpers.kube import Job, forwarded, namespace_of_its_own, sample, wait_until
from helpers.served_cluster import Service

from sapflow import Client
from sapflow.errors import DataError

grpcclient = pytest.importorskip("tritonclient.grpc")
utils = pytest.importorskip("tritonclient.utils")
pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def served() -> Iterator[Service]:
    with namespace_of_its_own() as namespace:
        job = Job.apply(namespace, sample("digits", algorithm__epochs=1))
        job.until_succeeded()
        service = Service.apply(namespace, "digits-grpc", {"model": {"job": job.name}, "protocol": "Grpc"})
        service.until("True", "Serving")
        yield service


@pytest.fixture
def client(served: Service) -> Iterator[Any]:
    with forwarded("kourier-system", "deploy/3scale-kourier-gateway", 8081) as port:
        authority = [("grpc.default_authority", served.host)]
        found = grpcclient.InferenceServerClient(f"127.0.0.1:{port}", channel_args=authority)
        yield found
        found.close()


def labels(client: Any, service: Service, count: int = 3) -> list[str]:
    """Decisions on so many empty pictures."""
    told = client.get_model_metadata(service.name, headers=headers(service))
    inputs = []
    for each in told.inputs:
        tensor = grpcclient.InferInput(each.name, [count, *each.shape[1:]], "FP64")
        tensor.set_data_from_numpy(np.zeros((count, *each.shape[1:])))
        inputs.append(tensor)
    answer = client.infer(service.name, inputs, headers=headers(service), client_timeout=120)
    return [each.decode() for each in answer.as_numpy("label")]


def headers(service: Service) -> dict[str, str]:
    return {"authorization": f"Bearer {service.token}"}


def test_the_first_request_after_zero_is_answered_and_counted(client: Any, served: Service) -> None:
    assert client.is_server_ready()
    first = labels(client, served)
    assert len(first) == 3
    served.until_zero()
    assert labels(client, served) == first
    wait_until(lambda: served.status.get("requests", 0) >= 2, "counted requests", 60)
    assert served.status.get("errors", 0) == 0


def test_a_request_without_the_token_is_refused(client: Any, served: Service) -> None:
    with pytest.raises(utils.InferenceServerException, match="bearer token"):
        client.get_model_metadata(served.name, headers={})


def test_a_canary_goes_forward_by_itself(client: Any, served: Service) -> None:
    before = served.revision
    canary = {"percent": 50, "stepSeconds": 5, "minRequests": 5}
    served.patch({"canary": canary, "decision": {"answer": "Probabilities"}})

    def moved() -> bool:
        assert len(labels(client, served)) == 3
        return served.revision != before and served.traffic == {served.revision: 100}

    wait_until(moved, "another version that serves", 240, pause=0.2)


def test_the_command_and_python_say_what_it_speaks(served: Service) -> None:
    with pytest.raises(DataError, match="speaks gRPC alone"):
        Client(served.namespace).predict(served.name, [[0.0] * 64])
