"""What an OpenWhisk allows a namespace (`GET /namespaces/_/limits`), and what follows for a job's actions."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from sapflow.errors import InvocationError
from sapflow.quantities.roles import Role
from sapflow.runtimes.openwhisk.api import Api

AT_ONCE = 30
"""Concurrent activations that OpenWhisk allows a namespace by default."""
INIT_SECONDS = 30.0
"""The part of an action's time limit, where OpenWhisk allows it, in which a function may start."""
ANSWER_SECONDS = 1.0
"""The part of an action's time limit in which a function answers after its seconds are over."""
_MIB = 1 << 20


class Limits(BaseModel):
    """The limits of a namespace. A field is None where this OpenWhisk does not tell it."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    max_action_timeout: int | None = None
    """Milliseconds."""
    min_action_memory: int | None = None
    """MiB, like all memory and logs here."""
    max_action_memory: int | None = None
    min_action_logs: int | None = None
    max_action_logs: int | None = None
    concurrent_invocations: int | None = None
    invocations_per_minute: int | None = None

    def time_limit(self, seconds: float) -> float:
        """The time limit in seconds of an action whose function may work for `seconds`."""
        wanted = seconds + INIT_SECONDS
        return wanted if self.max_action_timeout is None else min(wanted, self.max_action_timeout / 1000)

    def instances(self, memory: Mapping[Role, int], pool: int | None) -> int:
        """The number of calls at once: as many as the namespace may have, and as many of the larger action as fit into
        the `pool` of memory (bytes) that OpenWhisk has for containers, if that is known."""
        allowed = AT_ONCE if self.concurrent_invocations is None else self.concurrent_invocations
        room = allowed if pool is None else pool // max(memory.values())
        return max(1, min(allowed, room))

    def problems(self, memory: Mapping[Role, int], seconds: float, logs: int | None) -> list[tuple[str, str]]:
        """What this OpenWhisk would refuse: pairs of a field and what is wrong with it. `memory` is in bytes."""
        found: list[tuple[str, str]] = []
        longest = self.max_action_timeout
        if longest is not None and 1000 * seconds > longest:
            found.append(
                (
                    "spec.limits.invocationSeconds",
                    f"is {seconds:g}, and this OpenWhisk ends an activation after {longest / 1000:g} s: "
                    f"give {longest // 1000} at most; functions go on across that limit",
                )
            )
        for role, size in memory.items():
            field = f"spec.memory.{role}"
            if self.max_action_memory is not None and size > self.max_action_memory * _MIB:
                most = self.max_action_memory
                message = (
                    f"is {size / _MIB:g}Mi, and an action has {most}Mi at most here: give {most}Mi, or less"
                )
                found.append((field, message))
            if self.min_action_memory is not None and size < self.min_action_memory * _MIB:
                least = self.min_action_memory
                message = f"is {size / _MIB:g}Mi, and an action has {least}Mi at least here: give {least}Mi, or more"
                found.append((field, message))
        fewest, most_logs = self.min_action_logs or 0, self.max_action_logs
        if logs is not None and most_logs is not None and not fewest <= logs <= most_logs:
            message = f"is {logs}, and this OpenWhisk allows {fewest} to {most_logs} (MiB)"
            found.append(("--action-logs", message))
        return found


async def limits_of(api: Api) -> Limits:
    """The limits of the API's namespace; all unknown where there is no such resource, as in early releases.

    Raises InvocationError: this is the first request, so a wrong address or wrong credentials are noticed here.
    """
    try:
        answer = await api.exchange("GET", api.place("limits"))
    except InvocationError as error:
        raise InvocationError(f"{error}; check the address", reason="StartFailed") from error
    if answer.status == 404:
        return Limits()
    if answer.status != 200:
        raise InvocationError(
            f"OpenWhisk at {api.url} does not tell its limits ({answer.status}): {answer.message}",
            reason="StartFailed",
        )
    try:
        return Limits.model_validate(answer.body)
    except ValidationError as error:
        raise InvocationError(
            f"the limits of OpenWhisk at {api.url} are not understood: {error}", reason="StartFailed"
        ) from error
