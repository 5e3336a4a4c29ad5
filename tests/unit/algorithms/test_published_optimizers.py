"""Lion and LAMB against what published implementations made of the same gradients (helpers/published_optimizers.py)."""

import fnmatch
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.published_optimizers import CASES, RATES, SHAPES, STEPS, gradient, start

from sapflow.algorithms.optimizers import Float32, OptimizerSettings, apply, slots
from sapflow.algorithms.parameter_groups import Asked, resolve

RECORDED: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "published_optimizers.json").read_text(encoding="utf-8")
)


def flat(tensors: Mapping[str, Any]) -> Float32:
    return np.concatenate([np.asarray(tensors[name], np.float32).reshape(-1) for name in SHAPES])


def layout() -> list[dict[str, Any]]:
    entries, offset = [], 0
    for name, shape in SHAPES.items():
        entries.append({"name": name, "kind": "parameter", "shape": list(shape), "offset": offset})
        offset += int(np.prod(shape))
    return entries


def trained(case: Mapping[str, Any]) -> Float32:
    chosen = OptimizerSettings.of(case["optimizer"], **case["given"])
    asked = [Asked((case["bare"],), weight_decay=0.0, factor=0.5)] if "bare" in case else []
    params = flat({name: start(name) for name in SHAPES})
    state = [np.zeros_like(params) for _ in slots(chosen)]
    for step in range(1, STEPS + 1):
        apply(
            chosen,
            params=params,
            grads=flat({name: gradient(name, step) for name in SHAPES}),
            state=state,
            learning_rate=RATES[case["optimizer"]],
            step=step,
            grouping=resolve(asked, layout(), chosen),
        )
    return params


def test_the_record_is_of_these_cases() -> None:
    asked = [{key: case[key] for key in case if key not in ("package", "last")} for case in RECORDED]
    assert asked == [dict(case) for case in CASES]
    assert {case["package"] for case in RECORDED} == {"lion-pytorch 0.2.5", "timm 1.0.31"}


@pytest.mark.parametrize("case", RECORDED, ids=[f"{one['optimizer']}-{i}" for i, one in enumerate(RECORDED)])
def test_updates_equal_the_published_ones(case: dict[str, Any]) -> None:
    np.testing.assert_allclose(trained(case), flat(case["last"]), rtol=2e-5, atol=2e-6)


def test_the_groups_of_the_last_case_matter() -> None:
    (case,) = (one for one in RECORDED if "bare" in one)
    plain = {key: value for key, value in case.items() if key != "bare"}
    differs = np.abs(trained(plain) - flat(case["last"])) > 1e-3
    bare = flat({name: np.full(SHAPES[name], fnmatch.fnmatch(name, case["bare"])) for name in SHAPES})
    assert differs[bare == 1].sum() >= 9
    assert not differs[bare == 0].any()


@pytest.mark.parametrize("name", ["Lion", "LAMB"])
def test_a_tensor_of_zeros_is_moved_by_the_plain_step(name: Any) -> None:
    chosen = OptimizerSettings.of(name)
    params, grads = np.zeros(4, np.float32), np.array([1, -2, 3, -4], np.float32)
    apply(
        chosen,
        params=params,
        grads=grads,
        state=[np.zeros(4, np.float32) for _ in slots(chosen)],
        learning_rate=0.5,
        step=1,
    )
    np.testing.assert_allclose(params, [-0.5, 0.5, -0.5, 0.5], rtol=1e-5)
