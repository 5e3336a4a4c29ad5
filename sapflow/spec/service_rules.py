"""Rules between fields of ModelServices and of `spec.serve`, for the library and the API server."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from sapflow.spec.rule import Rule

if TYPE_CHECKING:
    from sapflow.spec.model_service import ModelServiceSpec
    from sapflow.spec.serving.decision import DecisionSpec
    from sapflow.spec.serving.serve import ServeSpec, ServingSpec

S = TypeVar("S")


def _of(holds: "Callable[[DecisionSpec], bool]") -> "Callable[[ServingSpec], bool]":
    return lambda spec: spec.decision is None or holds(spec.decision)


def _cel(condition: str) -> str:
    """`condition` about `d`, the decision, where there is one."""
    return f"!has(self.decision) || {condition.replace('d.', 'self.decision.')}"


def _decision(
    field: str, message: str, holds: "Callable[[DecisionSpec], bool]", cel: str
) -> "Rule[ServingSpec]":
    return Rule(f"decision.{field}", message, _of(holds), _cel(cel))


SERVING_RULES: "tuple[Rule[ServingSpec], ...]" = (
    Rule(
        "scale.min",
        "must be at most scale.max: lower it, or raise max",
        lambda spec: spec.scale is None or spec.scale.min <= spec.scale.max,
        "!has(self.scale) || self.scale.min <= self.scale.max",
    ),
    Rule(
        "auth.secretName",
        "goes with mode Bearer: leave it out, or ask for the token",
        lambda spec: spec.auth is None or spec.auth.secret_name is None or spec.auth.mode == "Bearer",
        "!has(self.auth) || !has(self.auth.secretName) || self.auth.mode == 'Bearer'",
    ),
    Rule(
        "canary.minAgreement",
        "compares answers of POST /predict, which protocol Grpc has not: leave one of the two out",
        lambda spec: spec.protocol != "Grpc" or spec.canary is None or spec.canary.min_agreement is None,
        "!has(self.protocol) || self.protocol != 'Grpc' || !has(self.canary) || !has(self.canary.minAgreement)",
    ),
    _decision(
        "topK",
        "goes with answer TopK: say answer: TopK, or leave it out",
        lambda decision: decision.top_k is None or decision.answer == "TopK",
        "!has(d.topK) || (has(d.answer) && d.answer == 'TopK')",
    ),
    _decision(
        "costs",
        "decides by expected costs, thresholds by probabilities: leave one of the two out",
        lambda decision: decision.costs is None or decision.thresholds is None,
        "!has(d.costs) || !has(d.thresholds)",
    ),
    _decision(
        "costs",
        "must be square: a row for each true class, and in it a cost for each class that may be decided for",
        lambda decision: (
            decision.costs is None or all(len(each) == len(decision.costs) for each in decision.costs)
        ),
        "!has(d.costs) || d.costs.all(row, size(row) == size(d.costs))",
    ),
    _decision(
        "abstain.cost",
        "needs costs: it is a bound on the least expected one",
        lambda decision: (
            decision.abstain is None or decision.abstain.cost is None or decision.costs is not None
        ),
        "!has(d.abstain) || !has(d.abstain.cost) || has(d.costs)",
    ),
    _decision(
        "abstain",
        "never abstains as it is: give below, or cost with costs, or thresholds of the classes",
        lambda decision: (
            decision.abstain is None
            or decision.abstain.below is not None
            or decision.abstain.cost is not None
            or decision.thresholds is not None
        ),
        "!has(d.abstain) || has(d.abstain.below) || has(d.abstain.cost) || has(d.thresholds)",
    ),
    _decision(
        "boxes",
        "is for detectors: leave answer, thresholds, costs, abstain and messages out; minScore is the threshold",
        lambda decision: (
            decision.boxes is None
            or all(
                each is None
                for each in (
                    decision.answer,
                    decision.thresholds,
                    decision.costs,
                    decision.abstain,
                    decision.messages,
                )
            )
        ),
        "!has(d.boxes) || !(has(d.answer) || has(d.thresholds) || has(d.costs) || has(d.abstain) || has(d.messages))",
    ),
)
"""Those of every served model, about the fields of `ServingSpec`."""


def _one_of(spec: "ModelServiceSpec") -> bool:
    model = spec.model
    return sum(each is not None for each in (model.job, model.tuning, model.uri)) == 1


MODEL_RULES: "tuple[Rule[ModelServiceSpec], ...]" = (
    Rule(
        "model",
        "needs one of job, tuning and uri: the result of a TrainingJob, of a TuningJob, or a file",
        _one_of,
        "(has(self.model.job) ? 1 : 0) + (has(self.model.tuning) ? 1 : 0) + (has(self.model.uri) ? 1 : 0) == 1",
    ),
    Rule(
        "model.sha256",
        "goes with uri, and uri needs it: the SHA-256 of the file, which alone is served",
        lambda spec: (spec.model.sha256 is None) == (spec.model.uri is None),
        "has(self.model.sha256) == has(self.model.uri)",
    ),
    Rule(
        "model.entrypoint",
        "goes with uri: a job or a search says its own; leave it out",
        lambda spec: spec.model.entrypoint is None or spec.model.uri is not None,
        "!has(self.model.entrypoint) || has(self.model.uri)",
    ),
    Rule(
        "model.image",
        "goes with entrypoint: other models are served by Sapflow's own images; leave it out",
        lambda spec: spec.model.image is None or spec.model.entrypoint is not None,
        "!has(self.model.image) || has(self.model.entrypoint)",
    ),
)
"""Those of a ModelService alone."""


def serve_rules(serve: "Callable[[S], ServeSpec | None]") -> tuple[Rule[S], ...]:
    """The rules of a spec with the field `serve`, which `serve` gives."""

    def below(rule: "Rule[ServingSpec]") -> Rule[S]:
        def holds(spec: S) -> bool:
            found = serve(spec)
            return found is None or rule.holds(found)

        cel = f"!has(self.serve) || ({rule.cel.replace('self.', 'self.serve.')})"
        return Rule(f"serve.{rule.field}", rule.message, holds, cel)

    return tuple(map(below, SERVING_RULES))


def service_rules() -> "tuple[Rule[ModelServiceSpec], ...]":
    """All rules of a ModelService's spec."""
    shared: list[Rule[ModelServiceSpec]] = [
        Rule(each.field, each.message, each.holds, each.cel) for each in SERVING_RULES
    ]
    return (*MODEL_RULES, *shared)
