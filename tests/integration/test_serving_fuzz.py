"""Requests made at random from the OpenAPI document: none is answered by a fault of the server's own."""

from pathlib import Path
from typing import Any

import pytest
from helpers.served import AskedApp, late_files, plain_files
from hypothesis import HealthCheck, given, settings

schemathesis = pytest.importorskip("schemathesis")

EXAMPLES = 40
"""Of each operation; bench/serving.py makes 100,000 in all."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["late", "plain"])
@pytest.mark.filterwarnings("ignore")
def test_no_request_made_at_random_is_answered_with_a_500(kind: str, tmp_path: Path) -> None:
    files = late_files(tmp_path) if kind == "late" else plain_files()
    app = AskedApp(files.served({"answer": "Probabilities", "message": "{label}"}), limits={"rows": 20})
    schema = schemathesis.openapi.from_asgi("/openapi.json", app.app)
    statuses: dict[str, set[int]] = {}
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            answer = case.call()
            assert answer.status_code < 500, (answer.status_code, answer.text)
            statuses.setdefault(case.operation.path, set()).add(answer.status_code)

        ask()
    assert statuses["/v2"] == {200}
    assert statuses["/predict"] & {200, 400, 422}
