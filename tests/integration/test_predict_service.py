"""`sapflow predict ms/NAME` and `Client.predict`: a ModelService of a cluster is asked by its name."""

import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from helpers.cluster_api import ClusterApi
from helpers.cluster_cli import ClusterCli
from helpers.quiet_server import QuietServer
from helpers.served import csv_of, flights, late_files
from helpers.server_process import TOKEN, ServerProcess

from sapflow import Client, DataError
from sapflow.client.cluster_errors import ClusterRefused, JobUnknown
from sapflow.client.served import NotAnswered

ROWS = [{name: value for name, value in row.items() if name != "late"} for row in flights(3)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("served")
    late_files(folder).write(folder)
    with ServerProcess(folder) as process:
        yield process


@pytest.fixture
def service(api: ClusterApi, server: ServerProcess) -> dict[str, Any]:
    """A ModelService `late` of the namespace, with the token that its operator has made."""
    api.secrets["team", "late-serve-token"] = {"data": {"token": b64encode(TOKEN.encode()).decode()}}
    return api.put(
        {
            "kind": "ModelService",
            "metadata": {"name": "late", "namespace": "team", "uid": "u"},
            "spec": {"model": {"job": "late"}},
            "status": {"url": f"http://127.0.0.1:{server.port}"},
        }
    )


def test_a_service_is_asked_with_the_token_of_its_secret(
    client: Client, cli: ClusterCli, service: dict[str, Any], tmp_path: Path
) -> None:
    made = client.predict("late", ROWS)
    assert {each["label"] for each in made} <= {"yes", "no"}
    assert len(made) == 3
    file = tmp_path / "rows.csv"
    file.write_text(csv_of(ROWS))
    for name in ("ms/late", "modelservices/late"):
        done = cli("predict", name, file, "--json")
        assert done.code == 0, done.err
        assert done.json["decisions"] == made
    assert cli("predict", "ms/late", file, "--token", "another").code == 2
    with pytest.raises(DataError, match="there is no column 'color'"):
        client.predict("late", [{**ROWS[0], "color": 1}])


def test_a_secret_of_ones_own_is_read_and_none_where_no_token_is_asked_for(
    client: Client, api: ClusterApi, service: dict[str, Any]
) -> None:
    del api.secrets["team", "late-serve-token"]
    with pytest.raises(ClusterRefused, match=r"or give the service's token \(--token\)"):
        client.predict("late", ROWS)
    assert client.served("late", token=TOKEN).predict(ROWS)
    service["spec"]["auth"] = {"secretName": "mine"}
    api.secrets["team", "mine"] = {"data": {"token": b64encode(TOKEN.encode()).decode()}}
    assert client.served("late").token == TOKEN
    api.secrets["team", "mine"] = {"data": {"other": ""}}
    with pytest.raises(DataError, match="the Secret mine in namespace team has no text under 'token'"):
        client.served("late")
    service["spec"]["auth"] = {"mode": "None"}
    assert client.served("late").token is None


def test_what_is_not_served_says_why(
    client: Client, cli: ClusterCli, api: ClusterApi, service: dict[str, Any]
) -> None:
    ready = {
        "type": "Ready",
        "status": "Unknown",
        "reason": "ModelNotReady",
        "message": "the job has no model yet",
    }
    service["status"] = {"conditions": [ready]}
    with pytest.raises(DataError, match=r"serves nothing yet \(ModelNotReady\): the job has no model yet"):
        client.predict("late", ROWS)
    service["status"]["url"], service["spec"]["protocol"] = "http://late-serve.team.example", "Grpc"
    with pytest.raises(DataError, match=r"speaks gRPC alone \(spec.protocol\): ask http://late-serve"):
        client.predict("late", ROWS)
    with pytest.raises(JobUnknown, match=r"no model service 'other'.*`kubectl get ms -n team` lists"):
        client.predict("other", ROWS)
    assert "give ms/late and INPUT: rows as .csv" in cli("predict", "ms/late").err
    assert (
        "for a ModelService of a cluster: name it ms/NAME"
        in cli("predict", "model.safetensors", "-n", "team").err
    )


def test_where_the_host_name_is_not_known_a_gateway_is_asked_for_it(
    client: Client, service: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    service["status"]["url"] = "http://late-serve.team.invalid"
    monkeypatch.setattr("sapflow.client.served.TRIES", 1)
    with pytest.raises(NotAnswered, match=r"kubectl port-forward .* --gateway http://127\.0\.0\.1:8080"):
        client.predict("late", ROWS)
    hosts: list[str] = []

    class Gateway(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            hosts.append(self.headers["Host"])
            self.rfile.read(int(self.headers["Content-Length"]))
            content = json.dumps({"decisions": [{"label": "no"}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    with QuietServer(("127.0.0.1", 0), Gateway) as gateway:
        threading.Thread(target=gateway.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{gateway.server_address[1]}"
        assert client.predict("late", ROWS[:1], gateway=url) == [{"label": "no"}]
        gateway.shutdown()
    assert hosts == ["late-serve.team.invalid"]
