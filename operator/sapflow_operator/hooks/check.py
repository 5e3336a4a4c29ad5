"""The checks of `helm test`: Knative is installed, it has the settings that functions need, and the store is safe.

python3 -m sapflow_operator.hooks.check --knative-namespace knative-serving
"""

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from sapflow.errors import SapflowError
from sapflow.kube.blocking import BlockingApiClient
from sapflow.kube.errors import ClusterError
from sapflow.objects.stores.credentials import Credentials
from sapflow.objects.stores.factory import open_store
from sapflow_operator import names
from sapflow_operator.hooks.api import connect
from sapflow_operator.settings import ObjectStorage, Settings

FEATURES = ("kubernetes.podspec-securitycontext",)
"""Flags of config-features that the functions' Services need."""
CELL_FEATURES = (
    "kubernetes.podspec-affinity",
    "kubernetes.podspec-fieldref",
    "kubernetes.podspec-persistent-volume-claim",
    "kubernetes.podspec-persistent-volume-write",
)
"""Further flags that only jobs with affinity need."""
POD_FEATURES = {
    "kubernetes.podspec-nodeselector": "spec.pods.nodeSelector",
    "kubernetes.podspec-tolerations": "spec.pods.tolerations",
    "kubernetes.podspec-priorityclassname": "spec.pods.priorityClassName",
}
"""Further flags, by the field that needs them."""
_LONGEST = 600
"""The default of Knative's max-revision-timeout-seconds."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check; `remedy` is set if there is a problem."""

    subject: str
    remedy: str = ""
    optional: bool = False
    """Whether only some jobs need it."""

    @property
    def failed(self) -> bool:
        return bool(self.remedy) and not self.optional

    def __str__(self) -> str:
        if not self.remedy:
            return f"ok    {self.subject}"
        return f"{'FAIL' if self.failed else 'note'}  {self.subject}: {self.remedy}"


def judge_features(data: Mapping[str, str], namespace: str) -> Iterator[Finding]:
    """Checks the flags in the data of config-features."""
    needs = dict.fromkeys(FEATURES, "") | dict.fromkeys(CELL_FEATURES, "affinity") | POD_FEATURES
    for flag, field in needs.items():
        value = data.get(flag, "disabled").strip().lower()
        optional = bool(field)
        why = f"is {value}{f', and jobs with {field} need it' if field else ''}; "
        remedy = "" if value in ("enabled", "allowed") else why
        if remedy:
            remedy += _patch("config-features", namespace, flag, "enabled")
        yield Finding(f"config-features: {flag}", remedy, optional)


def judge_autoscaler(data: Mapping[str, str], namespace: str) -> Finding:
    """Checks that functions can start from zero."""
    flag = "allow-zero-initial-scale"
    well = data.get(flag, "false").strip().lower() == "true"
    remedy = f"is not true; {_patch('config-autoscaler', namespace, flag, 'true')}"
    return Finding(f"config-autoscaler: {flag}", "" if well else remedy)


def judge_timeout(data: Mapping[str, str], namespace: str, asked: int) -> Finding:
    """Checks that Knative allows invocations to take as long as the chart says."""
    flag = "max-revision-timeout-seconds"
    given = data.get(flag, str(_LONGEST)).strip()
    well = given.isdecimal() and int(given) >= asked
    remedy = (
        f"is {given}, and functions.maxInvocationSeconds is {asked}: lower that, or "
        f"{_patch('config-defaults', namespace, flag, str(asked))}"
    )
    return Finding(f"config-defaults: {flag} is at least {asked}", "" if well else remedy)


def _patch(config: str, namespace: str, key: str, value: str) -> str:
    data = f'{{"data": {{"{key}": "{value}"}}}}'
    return f"kubectl patch configmap {config} -n {namespace} --type merge -p '{data}'"


def check_kind(api: BlockingApiClient, crd: str, remedy: str) -> Finding:
    """Checks that a CustomResourceDefinition exists and is served."""
    subject = f"{crd} is served"
    try:
        found = api.read(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd}")
    except ClusterError as error:
        return Finding(subject, remedy if error.status == 404 else str(error))
    conditions = found.get("status", {}).get("conditions", [])
    served = any(each["type"] == "Established" and each["status"] == "True" for each in conditions)
    return Finding(subject, "" if served else "it is not established yet; try again")


def check_knative(api: BlockingApiClient, namespace: str, longest: int) -> Iterator[Finding]:
    """Checks Knative Serving's settings."""

    def data(config: str) -> dict[str, str]:
        return api.read(f"/api/v1/namespaces/{namespace}/configmaps/{config}").get("data") or {}

    try:
        yield from judge_features(data("config-features"), namespace)
        yield judge_autoscaler(data("config-autoscaler"), namespace)
        yield judge_timeout(data("config-defaults"), namespace, longest)
    except ClusterError as error:
        yield Finding(
            f"Knative's settings in {namespace}", f"{error}; is Knative there? set knative.namespace"
        )


def check_store(storage: ObjectStorage | None) -> Finding:
    """Checks that of several writers of one key exactly one wins."""
    if storage is None:
        return Finding("no store is set: every job names its own")
    options = urlencode({"endpoint": storage.endpoint.rstrip("/"), "region": storage.region})
    subject = f"store {storage.endpoint}, bucket {storage.bucket}: one writer of a key wins"
    credentials = Credentials(storage.access_key, storage.secret_key.get_secret_value())
    store = open_store(f"s3://{storage.bucket}?{options}", credentials)
    try:
        store.probe("helm-test/")
    except SapflowError as error:
        return Finding(subject, str(error))
    finally:
        store.close()
    return Finding(subject)


def check(api: BlockingApiClient, settings: Settings, knative_namespace: str) -> Iterator[Finding]:
    """All checks, in the order in which problems should be solved."""
    for kind in (*names.RESOURCES, names.TRIAL):
        yield check_kind(
            api,
            f"{kind.plural}.{names.GROUP}",
            "install the chart with crds.enabled, or kubectl apply -f manifests/crds",
        )
    yield check_kind(api, "services.serving.knative.dev", "install Knative Serving: docs/install.md")
    yield from check_knative(api, knative_namespace, settings.max_invocation_seconds)
    yield check_store(settings.storage)


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Print the findings. Returns 1 if there is a problem."""
    parser = argparse.ArgumentParser(
        prog="python3 -m sapflow_operator.hooks.check", description=check.__doc__
    )
    parser.add_argument("--knative-namespace", default="knative-serving", metavar="NAME")
    given = parser.parse_args(argv)
    try:
        settings = Settings.from_environment(environ)
        findings = list(check(connect(environ), settings, given.knative_namespace))
    except SapflowError as error:
        print(error, file=sys.stderr)
        return 1
    print(*findings, sep="\n")
    return int(any(finding.failed for finding in findings))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
