"""The counters of a function's process as Prometheus text; without a library, because functions must start fast."""

from collections import Counter

INVOCATIONS = "sapflow_function_invocations_total"
SECONDS = "sapflow_function_seconds_total"
BUSY = "sapflow_function_busy"


class Metrics:
    """Counts calls by operation and outcome, and seconds by operation."""

    def __init__(self, role: str) -> None:
        self._role = role
        self._calls: Counter[tuple[str, str]] = Counter()
        self._seconds: dict[str, float] = {}

    def record(self, op: str, outcome: str, seconds: float) -> None:
        """Count one call; `outcome` is `ok` or the reason of its error."""
        self._calls[op, outcome] += 1
        self._seconds[op] = self._seconds.get(op, 0.0) + seconds

    def text(self, *, busy: bool) -> str:
        role = self._role
        lines = [
            f"# HELP {INVOCATIONS} Calls answered, by operation and outcome.",
            f"# TYPE {INVOCATIONS} counter",
            *(
                f'{INVOCATIONS}{{role="{role}",op="{op}",outcome="{outcome}"}} {count}'
                for (op, outcome), count in sorted(self._calls.items())
            ),
            f"# HELP {SECONDS} Seconds at work, by operation.",
            f"# TYPE {SECONDS} counter",
            *(
                f'{SECONDS}{{role="{role}",op="{op}"}} {value!r}'
                for op, value in sorted(self._seconds.items())
            ),
            f"# HELP {BUSY} Whether a call is at work now.",
            f"# TYPE {BUSY} gauge",
            f'{BUSY}{{role="{role}"}} {int(busy)}',
        ]
        return "\n".join(lines) + "\n"
