"""The command line in this process, with a kubeconfig that leads to a test's API server."""

from pathlib import Path

import pytest

from helpers.cluster_api import ClusterApi
from helpers.commands import Done, Shell


class ClusterCli:
    """`sapflow …` against the cluster that `api` plays."""

    def __init__(self, api: ClusterApi, capture: pytest.CaptureFixture[str], folder: Path) -> None:
        self._shell = Shell(capture)
        self.environ = {"KUBECONFIG": str(api.kubeconfig(folder)), "HOME": str(folder)}

    def __call__(self, *arguments: object) -> Done:
        return self._shell(*arguments, environ=self.environ)
