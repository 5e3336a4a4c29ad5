"""What a search's driver makes of the operator's word about its functions' memory."""

from collections.abc import Mapping
from typing import Any

import pytest
from helpers import virtual_loop

from sapflow.quantities.roles import Role
from sapflow.tuning.budget import Budget
from sapflow.tuning.calls import Calls
from sapflow_operator.driver_pod.pool_memory import NOTICE_SECONDS, REFUSED_SECONDS, PoolMemory

FIRST: dict[Role, int] = {"worker": 512 << 20, "merger": 256 << 20}
KILLED = ("False", "OutOfMemory")


def status(functions: tuple[str, str] = ("True", "Ready"), **memory: str) -> dict[str, Any]:
    condition = {"type": "FunctionsReady", "status": functions[0], "reason": functions[1]}
    return {"conditions": [condition], **({"memory": memory} if memory else {})}


class Status:
    """Says one status after the other, a second apart, and the last one for ever."""

    def __init__(self, *said: dict[str, Any]) -> None:
        self._said = [*said]
        self.looks = 0

    async def status(self) -> Mapping[str, Any]:
        self.looks += 1
        return self._said.pop(0) if len(self._said) > 1 else self._said[0]


def memory_of(*said: dict[str, Any]) -> tuple[PoolMemory, Calls, Status]:
    api, calls = Status(*said), Calls(4, Budget(None))
    return PoolMemory(api, FIRST, calls), calls, api  # type: ignore[arg-type]


def test_functions_that_get_more_memory_are_waited_for_and_their_calls_reserve_more() -> None:
    grown, waiting = status(worker="768Mi"), status(("Unknown", "Deploying"), worker="768Mi")
    memory, calls, api = memory_of(status(), status(), waiting, waiting, waiting, grown)
    assert virtual_loop.run(memory.grow(0.0)) == "Grown"
    assert api.looks == 6
    assert calls.most_memory("worker") == 768 << 20
    # Later kills are judged by what there is now.
    assert virtual_loop.run(memory.grow(0.0)) == "NotKilled"


@pytest.mark.parametrize(
    ("functions", "growth", "seconds"),
    [(KILLED, "Refused", REFUSED_SECONDS), (("True", "Ready"), "NotKilled", NOTICE_SECONDS)],
)
def test_what_the_operator_says_is_waited_for_as_long_as_it_may_take(
    functions: tuple[str, str], growth: str, seconds: float
) -> None:
    memory, _, api = memory_of(status(functions))
    assert virtual_loop.run(memory.grow(0.0)) == growth
    assert api.looks == seconds + 1


def test_a_driver_that_starts_again_knows_the_size_that_functions_have_grown_to() -> None:
    memory, calls, _ = memory_of(status(worker="768Mi", merger="256Mi"))
    virtual_loop.run(memory.take_in())
    assert (calls.most_memory("worker"), calls.most_memory("merger")) == (768 << 20, 256 << 20)
    assert virtual_loop.run(memory.grow(0.0)) == "NotKilled"
