"""What a kubeconfig says, as the client of API servers takes it."""

import asyncio
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.certificates import self_signed

from sapflow.client.cluster_errors import NoCluster
from sapflow.client.kubeconfig import log_in
from sapflow.kube.access import Access


def access(folder: Path, user: dict[str, Any], **cluster: Any) -> Access:
    """How a cluster is reached by a kubeconfig with this user and this cluster."""
    body = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:6443/", **cluster}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
    }
    (folder / "config").write_text(yaml.safe_dump(body))
    source, namespace = log_in(str(folder / "config"), None, {})
    assert namespace == "default"
    return asyncio.run(source.current())


def test_a_token_is_sent_and_the_server_is_the_cluster_s(tmp_path: Path) -> None:
    found = access(tmp_path, {"token": "mine"}, **{"tls-server-name": "kubernetes"})
    assert (found.server, dict(found.headers)) == ("https://127.0.0.1:6443", {"Authorization": "Bearer mine"})
    assert (found.server_name, found.proxy) == ("kubernetes", None)
    assert found.tls is not None
    assert found.tls.verify_mode == ssl.CERT_REQUIRED


def test_name_and_password_are_sent_as_basic_authentication(tmp_path: Path) -> None:
    found = access(tmp_path, {"username": "me", "password": "secret"})
    assert dict(found.headers) == {"Authorization": "Basic bWU6c2VjcmV0"}


def test_a_plug_in_is_run_for_its_token(tmp_path: Path) -> None:
    script = tmp_path / "login.py"
    script.write_text(
        "import json; print(json.dumps({'apiVersion': 'client.authentication.k8s.io/v1', "
        "'kind': 'ExecCredential', 'status': {'token': 'of the plug-in'}}))"
    )
    plug_in = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": [str(script)],
        "interactiveMode": "Never",
    }
    assert dict(access(tmp_path, {"exec": plug_in}).headers) == {"Authorization": "Bearer of the plug-in"}


def test_a_client_certificate_is_shown_and_the_cluster_s_own_authority_trusted(tmp_path: Path) -> None:
    file = str(self_signed(tmp_path))
    user = {"client-certificate": file, "client-key": file}
    found = access(tmp_path, user, **{"certificate-authority": file})
    assert not found.headers
    assert found.tls is not None
    (authority,) = found.tls.get_ca_certs()
    assert authority["subject"] == ((("commonName", "127.0.0.1"),),)


def test_a_server_that_is_not_to_be_verified_is_not(tmp_path: Path) -> None:
    found = access(tmp_path, {}, **{"insecure-skip-tls-verify": True})
    assert found.tls is not None
    assert (found.tls.verify_mode, found.tls.check_hostname) == (ssl.CERT_NONE, False)


@pytest.mark.parametrize(
    ("passed_by", "proxy"),
    [
        ("", "http://proxy:3128"),
        ("10.0.0.0/8, elsewhere", "http://proxy:3128"),
        ("127.0.0.0/8", None),
        ("127.0.0.1", None),
        ("*", None),
    ],
)
def test_a_proxy_is_used_unless_no_proxy_names_the_server(
    passed_by: str, proxy: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", passed_by)
    monkeypatch.setenv("no_proxy", passed_by)
    assert access(tmp_path, {"token": "t"}, **{"proxy-url": "http://proxy:3128"}).proxy == proxy


def test_a_proxy_that_is_not_http_s_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoCluster, match="'socks5://proxy:1080' is no HTTP proxy"):
        access(tmp_path, {"token": "t"}, **{"proxy-url": "socks5://proxy:1080"})
