"""Rules for the fields of `spec.pods`."""

import re
from typing import TYPE_CHECKING

from sapflow.spec.pods import EnvSpec, TolerationSpec
from sapflow.spec.rule import Rule

if TYPE_CHECKING:
    from sapflow.spec.training_job import Spec

_OURS = (
    r"^(.*[.])?(sapflow|knative)[.]dev/|^prometheus[.]io/|"
    r"^app[.]kubernetes[.]io/(name|component|managed-by|part-of)$"
)
"""Labels and annotations that Sapflow and Knative set themselves."""
_RESERVED = r"^(SAPFLOW_.*|K_.*|PORT|PYTHONHASHSEED|(OMP|OPENBLAS|MKL)_NUM_THREADS)$"
"""Environment variables that Sapflow and Knative set themselves."""


def _sources(env: EnvSpec) -> int:
    """The number of values that a variable names."""
    source = env.value_from
    given = (env.value, source and source.secret_key_ref, source and source.config_map_key_ref)
    return sum(each is not None for each in given)


def _single(env: EnvSpec) -> bool:
    return _sources(env) == 1 and (env.value is None or env.value_from is None)


def _tolerable(each: TolerationSpec) -> bool:
    if each.operator == "Exists":
        return each.value is None
    return each.key is not None


def _foreign(keys: dict[str, str] | None) -> bool:
    """Whether none of the keys is one that Sapflow and Knative set."""
    return not any(re.search(_OURS, key) for key in keys or ())


_HAS_ENV = "!has(self.pods) || !has(self.pods.env) || "
POD_RULES: tuple[Rule["Spec"], ...] = (
    *(
        Rule(
            f"pods.{name}",
            "may have no key that Sapflow or Knative sets: sapflow.dev/, knative.dev/, prometheus.io/, and name, "
            "component, managed-by and part-of of app.kubernetes.io/",
            lambda spec, name=name: spec.pods is None or _foreign(getattr(spec.pods, name)),  # type: ignore[misc]
            f"!has(self.pods) || !has(self.pods.{name}) || "
            f"!self.pods.{name}.exists(key, key.matches(r'{_OURS}'))",
        )
        for name in ("labels", "annotations")
    ),
    Rule(
        "pods.tolerations",
        "must each have a key, or operator Exists without a value",
        lambda spec: spec.pods is None or all(map(_tolerable, spec.pods.tolerations or ())),
        "!has(self.pods) || !has(self.pods.tolerations) || self.pods.tolerations.all(each, "
        "has(each.operator) && each.operator == 'Exists' ? !has(each.value) : has(each.key))",
    ),
    Rule(
        "pods.env",
        "may name no variable that Sapflow or Knative sets: SAPFLOW_…, K_…, PORT, PYTHONHASHSEED and the numbers of "
        "threads",
        lambda spec: (
            spec.pods is None or not any(re.search(_RESERVED, each.name) for each in spec.pods.env or ())
        ),
        f"{_HAS_ENV}!self.pods.env.exists(each, each.name.matches(r'{_RESERVED}'))",
    ),
    Rule(
        "pods.env",
        "must give each variable either a value, or valueFrom with secretKeyRef or configMapKeyRef",
        lambda spec: spec.pods is None or all(map(_single, spec.pods.env or ())),
        f"{_HAS_ENV}self.pods.env.all(each, has(each.value) != has(each.valueFrom) && (!has(each.valueFrom) || "
        "has(each.valueFrom.secretKeyRef) != has(each.valueFrom.configMapKeyRef)))",
    ),
    Rule(
        "pods.env",
        "may name each variable once",
        lambda spec: (
            spec.pods is None or len({each.name for each in spec.pods.env or ()}) == len(spec.pods.env or ())
        ),
        f"{_HAS_ENV}self.pods.env.all(each, self.pods.env.exists_one(other, other.name == each.name))",
    ),
)
