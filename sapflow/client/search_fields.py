"""The document of a TuningJob from what Python programs say of a search: a job and a space of values."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sapflow.quantities.metric import METRICS
from sapflow.spec.training_job import API_VERSION
from sapflow.spec.tuning_job import TUNING_KIND

Space = Mapping[str, Mapping[str, Any] | Sequence[Any] | range]
"""By path in the job's spec, with or without `spec.`: a list of values, a range of ints, or a dict as in YAML."""
Direction = Literal["Maximize", "Minimize"]


def document_of(
    job: Mapping[str, Any],
    space: Space,
    *,
    metric: str,
    direction: Direction | None,
    goal: float | None,
    trials: int,
    parallel_trials: int | None,
    max_workers: int,
    search: str | Mapping[str, Any],
    prune: str | Mapping[str, Any],
    initial: Sequence[Mapping[str, Any]] | None,
    spec: Mapping[str, Any],
) -> dict[str, Any]:
    """The TuningJob whose template is the TrainingJob `job`; `spec` has further fields of it, in camelCase."""
    fields = {
        "parameters": [_parameter(path, values) for path, values in space.items()],
        "objective": {"metric": metric, "direction": direction or _direction(metric), "goal": goal},
        "search": {"name": search} if isinstance(search, str) else dict(search),
        "prune": {"name": prune} if isinstance(prune, str) else dict(prune),
        "initial": None if initial is None else [_full(each) for each in initial],
        "maxTrials": trials,
        "parallelTrials": parallel_trials,
        "maxWorkers": max_workers,
        **spec,
    }
    given = {name: _present(value) for name, value in fields.items() if value is not None}
    return {
        "apiVersion": API_VERSION,
        "kind": TUNING_KIND,
        "metadata": job["metadata"],
        "spec": {"template": {"spec": job["spec"]}, **given},
    }


def _present(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: each for name, each in value.items() if each is not None}
    return value


def _parameter(path: str, values: object) -> dict[str, Any]:
    """A parameter of the spec from what Python says of it."""
    named = {"path": _path(path)}
    if isinstance(values, range):
        # The last number of a range is none of its own.
        return named | {"int": {"min": values[0], "max": values[-1], "step": values.step}}
    if isinstance(values, Mapping):
        if {"float", "int", "categorical"} & values.keys():
            return named | dict(values)
        when = {"when": values["when"]} if "when" in values else {}
        bounds = {name: value for name, value in values.items() if name != "when"}
        kind = "float" if any(isinstance(value, float) for value in bounds.values()) else "int"
        return named | {kind: bounds} | when
    return named | {"categorical": {"choices": list(values)}}  # type: ignore[call-overload]  # pydantic judges it


def _path(path: str) -> str:
    return path if path.startswith("spec.") else f"spec.{path}"


def _full(values: Mapping[str, Any]) -> dict[str, Any]:
    return {_path(path): value for path, value in values.items()}


def _direction(metric: str) -> str:
    known = METRICS.get(metric)
    return "Maximize" if known is not None and known.better == "Higher" else "Minimize"
