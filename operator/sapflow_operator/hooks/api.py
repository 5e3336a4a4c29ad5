"""The API server for hooks, which make a few requests one after the other, as their pod's service account."""

import os
from collections.abc import Mapping

from sapflow.kube.access import AccessSource, ServiceAccount
from sapflow.kube.blocking import BlockingApiClient
from sapflow.kube.client import ApiClient, Patience
from sapflow.kube.errors import ClusterError

_PATIENCE = Patience(seconds=15.0, tries=5, pause=0.5)


def connect(environ: Mapping[str, str] = os.environ) -> BlockingApiClient:
    """A client of the pod's API server. Raises ClusterError outside of pods."""
    account = ServiceAccount.in_pod(environ)
    if account is None:
        raise ClusterError("there is no service account: hooks run in pods of the cluster", 401)
    return client(account)


def client(access: AccessSource) -> BlockingApiClient:
    return BlockingApiClient(ApiClient(access, _PATIENCE))


def delete(api: BlockingApiClient, path: str) -> None:
    """Request an object's deletion. One that is gone is ignored. Raises ClusterError."""
    try:
        api.delete(path)
    except ClusterError as error:
        if error.status != 404:
            raise
