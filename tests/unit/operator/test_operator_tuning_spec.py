"""The schema of TuningJobs: structural, bounded, its template checked as a TrainingJob."""

from collections.abc import Iterator
from typing import Any

from sapflow.spec.rules import RULES
from sapflow.spec.tuning_job import TuningSpec
from sapflow.spec.tuning_rules import TUNING_RULES
from sapflow_operator.kinds.crd import spec_schema
from sapflow_operator.kinds.training_job import TRAINING_JOB
from sapflow_operator.kinds.tuning_spec import TUNING_MUTABLE, tuning_definition

SCHEMA = spec_schema(tuning_definition((), {"type": "object"}))


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    for name, suffix in (("items", "[]"), ("additionalProperties", "{}")):
        if name in schema:
            yield from nodes(schema[name], f"{path}{suffix}")


def test_every_field_has_a_type_or_keeps_any_value() -> None:
    free = {path for path, node in nodes(SCHEMA) if "type" not in node}
    assert free == {
        ".parameters[].categorical.choices[]",
        ".parameters[].when.values[]",
    }
    assert SCHEMA["properties"]["initial"]["items"]["x-kubernetes-preserve-unknown-fields"] is True
    for path, node in nodes(SCHEMA):
        assert path not in free or node["x-kubernetes-preserve-unknown-fields"] is True
        assert not {"anyOf", "oneOf", "allOf", "$ref"} & set(node), path


def test_every_list_mapping_and_string_is_bounded() -> None:
    for path, node in nodes(SCHEMA):
        if node.get("type") == "array":
            assert "maxItems" in node, path
        if node.get("type") == "string":
            assert "maxLength" in node or "enum" in node or path.startswith(".template.spec.model.env"), path
        if "additionalProperties" in node:
            assert "maxProperties" in node, path


def test_the_template_is_checked_as_a_training_job() -> None:
    template = SCHEMA["properties"]["template"]["properties"]["spec"]
    alone = spec_schema(TRAINING_JOB.definition)
    assert template["properties"] == alone["properties"]
    assert {rule.cel for rule in RULES} <= {each["rule"] for each in template["x-kubernetes-validations"]}
    assert not any("oldSelf" in each["rule"] for each in template["x-kubernetes-validations"])


def test_rules_are_on_fields_that_are_there() -> None:
    fields = {path for path, _ in nodes(SCHEMA)}
    validations = SCHEMA["x-kubernetes-validations"]
    assert {rule.cel for rule in TUNING_RULES} <= {each["rule"] for each in validations}
    assert {each["fieldPath"] for each in validations} <= fields


def test_limits_may_be_raised_and_nothing_else_changed() -> None:
    rules = {
        each["fieldPath"].removeprefix("."): each["rule"]
        for each in SCHEMA["x-kubernetes-validations"]
        if "oldSelf" in each["rule"]
    }
    names = {field.alias or name for name, field in TuningSpec.model_fields.items()}
    assert set(rules) == names - set(TUNING_MUTABLE)
    raised = {name for name, rule in rules.items() if ">= oldSelf" in rule}
    assert raised == {
        "parallelTrials",
        "maxWorkers",
        "maxTrials",
        "maxFailedTrials",
        "budgetUSD",
        "deadlineSeconds",
    }
    assert rules["maxTrials"].endswith(
        "has(self.maxTrials) && has(oldSelf.maxTrials) && self.maxTrials >= oldSelf.maxTrials"
    )
