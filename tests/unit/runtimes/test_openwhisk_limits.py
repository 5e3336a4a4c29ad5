"""What an OpenWhisk allows a namespace, and what follows for the actions of a job."""

import asyncio
from typing import Any

import pytest

from sapflow.errors import InvocationError
from sapflow.quantities.roles import Role
from sapflow.runtimes.http.sender import NotConnected
from sapflow.runtimes.openwhisk.action import Action
from sapflow.runtimes.openwhisk.api import Answer, Api
from sapflow.runtimes.openwhisk.limits import Limits, limits_of

MIB = 1 << 20
NEW = Limits(
    max_action_timeout=300_000,
    min_action_memory=128,
    max_action_memory=512,
    min_action_logs=0,
    max_action_logs=10,
    concurrent_invocations=30,
)
SIZES: dict[Role, int] = {"worker": 512 * MIB, "merger": 256 * MIB}


@pytest.mark.parametrize(
    ("seconds", "limit", "works"), [(300, 300.0, 299.0), (280, 300.0, 280), (60, 90.0, 60)]
)
def test_a_function_has_the_specs_seconds_as_far_as_an_activation_may_take_them(
    seconds: float, limit: float, works: float
) -> None:
    action = Action("a", "image", 512 * MIB, NEW.time_limit(seconds), {})
    assert action.time_limit == limit
    assert action.body()["limits"]["timeout"] == 1000 * limit
    assert action.seconds(seconds) == works


def test_an_openwhisk_that_tells_no_limits_is_asked_for_what_the_spec_says() -> None:
    assert Limits().time_limit(600) == 630
    assert Limits().problems(SIZES, 600, 20) == []
    assert Limits().instances(SIZES, None) == 30


def test_the_default_spec_fits_a_new_openwhisk() -> None:
    assert NEW.problems(SIZES, 300, None) == []


@pytest.mark.parametrize(
    ("sizes", "seconds", "logs", "field"),
    [
        (SIZES, 301, None, "spec.limits.invocationSeconds"),
        (SIZES | {"worker": 513 * MIB}, 300, None, "spec.memory.worker"),
        (SIZES | {"merger": 127 * MIB}, 300, None, "spec.memory.merger"),
        (SIZES, 300, 11, "--action-logs"),
    ],
)
def test_what_it_would_refuse_is_named(
    sizes: dict[Role, int], seconds: float, logs: int | None, field: str
) -> None:
    assert [name for name, _ in NEW.problems(sizes, seconds, logs)] == [field]


@pytest.mark.parametrize(("pool", "instances"), [(None, 30), (2048, 4), (1 << 20, 30), (100, 1)])
def test_calls_at_once_follow_from_the_namespaces_limit_and_the_pool(
    pool: int | None, instances: int
) -> None:
    assert NEW.instances(SIZES, None if pool is None else pool * MIB) == instances


class _Said(Api):
    """An API that answers everything alike."""

    def __init__(self, said: Answer | Exception) -> None:
        super().__init__("http://whisk.example", "a:b")
        self._said = said

    async def exchange(self, *given: Any, **options: Any) -> Answer:
        if isinstance(self._said, Exception):
            raise self._said
        return self._said


def test_an_early_openwhisk_without_such_a_resource_has_unknown_limits() -> None:
    assert asyncio.run(limits_of(_Said(Answer(404, "{}")))) == Limits()


@pytest.mark.parametrize(
    "said",
    [
        Answer(401, '{"error": "The supplied authentication is invalid."}'),
        Answer(500, "{}"),
        Answer(200, '{"maxActionTimeout": "long"}'),
        NotConnected("no connection to OpenWhisk at http://whisk.example"),
    ],
)
def test_an_api_that_cannot_be_used_is_named_at_once(said: Answer | Exception) -> None:
    with pytest.raises(InvocationError, match=r"OpenWhisk at http://whisk\.example") as caught:
        asyncio.run(limits_of(_Said(said)))
    assert (caught.value.reason, caught.value.retryable) == ("StartFailed", False)
