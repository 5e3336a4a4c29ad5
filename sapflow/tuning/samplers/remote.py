"""Suggestions that a worker computes: Gaussian processes need torch, and a sampler of one's own is a user's code.

The question holds the history of the search as it is known, so the answer follows from it alone. A sampler of one's own
is a function: `sampler(number, seed, parameters, trials, **args)` returns values by path. `parameters` are those of the
spec, `trials` has for each trial its `parameters`, its `state` (running, finished, stopped, failed), the `reports` of
its objectives by length, and `values`, where it has finished."""

from collections.abc import Mapping, Sequence
from typing import Any

from sapflow.errors import SpecError
from sapflow.spec import entrypoint
from sapflow.spec.parameter_values import fits, present
from sapflow.spec.parameters import ParameterSpec
from sapflow.tuning.actions import Failed, Finished, Parameters, Report, Stopped, Suggested
from sapflow.tuning.samplers.sampler import News, Sampler, Suggestion
from sapflow.tuning.settings import Objective, Settings
from sapflow.tuning.space import Space
from sapflow.tuning.trial import Trial

_FIELD = "spec.search.entrypoint"


class RemoteSampler(Sampler):
    """Keeps the history for the worker's questions."""

    remote = True

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._warm: list[dict[str, Any]] = []
        self._trials: list[dict[str, Any]] = []

    def ask(self, number: int) -> Suggestion:
        suggested = answer(self.question(number))
        return Suggestion(suggested.parameters, suggested.notes)

    def question(self, number: int) -> dict[str, Any]:
        settings = self._settings
        return {
            "number": number,
            "seed": settings.seed,
            "sampler": settings.sampler,
            "entrypoint": settings.entrypoint,
            "args": dict(settings.args),
            "parameters": [
                each.model_dump(by_alias=True, mode="json", exclude_none=True) for each in settings.parameters
            ],
            "objectives": [
                {"metric": each.metric, "maximize": each.maximize} for each in settings.objectives
            ],
            "initial": [dict(each) for each in settings.initial],
            "warm": list(self._warm),
            "trials": [dict(each) for each in self._trials],
        }

    def warm(self, results: Sequence[tuple[Parameters, Sequence[float]]]) -> None:
        self._warm += [
            {"parameters": dict(parameters), "values": list(values)} for parameters, values in results
        ]

    def begin(self, trial: Trial, notes: Mapping[str, Any]) -> None:
        self._trials.append({"parameters": dict(trial.parameters), "state": "running", "notes": dict(notes)})

    def tell(self, news: News) -> None:
        for trial, told in news:
            row = self._trials[trial.number]
            match told:
                case Report() | Finished():
                    values = [_number(each.value(told)) for each in self._settings.objectives]
                    row["reports"] = {**row.get("reports", {}), str(told.at): values}
                    if isinstance(told, Finished):
                        row |= {"state": "finished", "values": values}
                case Stopped():
                    row["state"] = "stopped"
                case Failed():
                    row["state"] = "failed"


def _number(value: float) -> float | str:
    """The value as JSON has it; NaN and infinities are texts."""
    return value if value - value == 0 else str(value)


def answer(question: Mapping[str, Any]) -> Suggested:
    """The answer to a question of a search. Raises SpecError if a sampler of one's own gives no set of values."""
    number = int(question["number"])
    parameters = [ParameterSpec.model_validate(each) for each in question["parameters"]]
    if question["entrypoint"] is None:
        suggestion = _by_optuna(question, number, parameters)
        return Suggested(number, suggestion.parameters, suggestion.notes)
    sampler = entrypoint.load(question["entrypoint"], _FIELD)
    given = sampler(
        number=number,
        seed=question["seed"],
        parameters=question["parameters"],
        trials=question["trials"],
        **question["args"],
    )
    return Suggested(number, checked(parameters, given))


def checked(parameters: Sequence[ParameterSpec], given: object) -> dict[str, Any]:
    """The values of a sampler of one's own. Raises SpecError if one is missing, too many, or out of bounds."""
    if not isinstance(given, Mapping):
        raise SpecError([(_FIELD, f"must return a mapping of paths to values, got {type(given).__name__}")])
    chosen: dict[str, Any] = {}
    for each in parameters:
        if not present(each, chosen):
            continue
        if each.path not in given:
            raise SpecError([(_FIELD, f"gave no value for {each.path}")])
        if not fits(each, given[each.path]):
            raise SpecError(
                [(_FIELD, f"gave {given[each.path]!r} for {each.path}, which is none of its values")]
            )
        chosen[each.path] = given[each.path]
    if unknown := sorted(set(given) - set(chosen)):
        raise SpecError(
            [(_FIELD, f"gave values for {', '.join(unknown)}, which are not there: leave them out")]
        )
    return chosen


def _by_optuna(question: Mapping[str, Any], number: int, parameters: Sequence[ParameterSpec]) -> Suggestion:
    from sapflow.tuning.samplers.by_optuna import OptunaSampler

    objectives = [Objective(each["metric"], each["maximize"]) for each in question["objectives"]]
    sampler = OptunaSampler(
        Space(parameters), question["sampler"], question["seed"], objectives, question["initial"]
    )
    sampler.warm([(each["parameters"], list(map(float, each["values"]))) for each in question["warm"]])
    for place, row in enumerate(question["trials"]):
        trial = Trial(place, row["parameters"])
        sampler.begin(trial, row.get("notes", {}))
        sampler.tell([(trial, each) for each in _told(place, row, objectives)])
    return sampler.ask(number)


def _told(
    number: int, row: Mapping[str, Any], objectives: Sequence[Objective]
) -> list[Report | Finished | Failed | Stopped]:
    """What was known of a trial, as it was told."""
    found: list[Report | Finished | Failed | Stopped] = [
        Report(number, int(at), 0, *_measured(values, objectives))
        for at, values in row.get("reports", {}).items()
    ]
    match row["state"]:
        case "finished":
            last = found.pop()
            assert isinstance(last, Report)
            found.append(Finished(number, last.values, last.at, 0, last.seconds, last.dollars))
        case "stopped":
            found.append(Stopped(number))
        case "failed":
            found.append(Failed(number, "", ""))
    return found


def _measured(
    values: Sequence[Any], objectives: Sequence[Objective]
) -> tuple[dict[str, float], float, float]:
    """Objectives' values as a report has them: metrics, seconds, dollars."""
    named = {each.metric: float(value) for each, value in zip(objectives, values, strict=True)}
    return named, named.get("seconds", 0.0), named.get("dollars", 0.0)
