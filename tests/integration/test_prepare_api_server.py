"""What a real API server makes of `spec.data.prepare`: the same as the library."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.prepare_specs import REFUSED, REFUSED_IN_A_CLUSTER, SPLITS, STEPS, prepared
from helpers.real_api_server import api_server_with

from sapflow.kube.access import Access
from sapflow.kube.client import ApiClient
from sapflow.kube.errors import ClusterError
from sapflow.kube.paths import Kind
from sapflow_operator import names
from sapflow_operator.kinds.crd import crd

pytestmark = [pytest.mark.timeout(600)]
JOBS = Kind(names.API_VERSION, names.TRAINING_JOB.plural)


@pytest.fixture(scope="module")
def access(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    with api_server_with([crd()], [JOBS], tmp_path_factory.mktemp("api")) as found:
        yield found


def created(access: Access, **data: Any) -> dict[str, Any]:
    async def create() -> dict[str, Any]:
        api = ApiClient(access)
        try:
            return await api.create(JOBS.path("default"), prepared(**data), dry_run=True)
        finally:
            await api.close()

    return asyncio.run(create())


def test_every_step_and_split_is_accepted_as_it_is_written(access: Access) -> None:
    for split in SPLITS:
        prepare = {"target": "late", "columns": {"a": "Number"}, "split": split, "steps": STEPS}
        assert created(access, prepare=prepare)["spec"]["data"]["prepare"] == prepare


@pytest.mark.parametrize("case", [*REFUSED, *REFUSED_IN_A_CLUSTER])
def test_what_the_library_refuses_is_refused_with_the_same_words(access: Access, case: str) -> None:
    data, field, message = {**REFUSED, **REFUSED_IN_A_CLUSTER}[case]
    with pytest.raises(ClusterError) as caught:
        created(access, **data)
    assert message in str(caught.value)
    assert f"spec.data.{field.partition('[')[0]}" in str(caught.value)
