"""Model files that name code are served only where their code may run."""

from typing import Any

import pytest
from helpers.served import model_file

from sapflow.errors import DataError
from sapflow.serving import served_model

ABOUT = {"inputs": [4], "outputs": 3, "task": "classification", "classes": 3}


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ({"entrypoint": "os:abort"}, "os:abort"),
        ({"name": "mlp", "args": {"hidden": [8]}, "lossEntrypoint": "os:abort"}, "os:abort"),
        ({"entrypoint": "mine:model", "lossEntrypoint": "os:abort"}, "os:abort"),
    ],
    ids=["a model", "a loss", "a loss beside a model that may run"],
)
def test_a_file_that_names_code_which_may_not_run_is_refused(model: dict[str, Any], named: str) -> None:
    content = model_file({"hidden": [8]}, ABOUT | {"model": model})
    with pytest.raises(DataError, match=rf"m names code, {named}: say that it may run"):
        served_model.decode(memoryview(content), "m", None, None, ["mine:model"])


def test_a_file_that_names_a_built_in_model_needs_no_consent() -> None:
    content = model_file({"hidden": [8]}, ABOUT)
    assert served_model.decode(memoryview(content), "m", None, None).about.model.name == "mlp"
