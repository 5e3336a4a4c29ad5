"""The CRD: generated, structural, bounded. What an API server makes of it is tested in tests/e2e."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from sapflow.spec.rules import RULES
from sapflow.spec.training_job import Spec
from sapflow_operator.kinds.crd import DESCRIBED, Described, crd, file_name, main, render, spec_schema
from sapflow_operator.kinds.training_job import MUTABLE, TRAINING_JOB

ANY = "x-kubernetes-preserve-unknown-fields"
FOLDER = Path(__file__).parents[3] / "manifests" / "crds"
FILE = FOLDER / "sapflow.dev_trainingjobs.yaml"


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")


def _described(node: dict[str, Any]) -> dict[str, Any]:
    return {"description": node["description"]} if "description" in node else {}


def whole(kind: Described = TRAINING_JOB) -> dict[str, Any]:
    schema: dict[str, Any] = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def test_the_file_is_what_the_models_say() -> None:
    assert {path.name for path in FOLDER.glob("*.yaml")} == set(map(file_name, DESCRIBED.values()))
    for name, kind in DESCRIBED.items():
        file = FOLDER / file_name(kind)
        assert file.read_text() == render(kind)
        assert main(["--kind", name, "--check", str(file)]) == 0


def test_all_files_are_written_at_once(tmp_path: Path) -> None:
    assert main(["--all", str(tmp_path)]) == 0
    assert (tmp_path / FILE.name).read_text() == FILE.read_text()


def test_a_file_that_is_out_of_date_is_found(tmp_path: Path) -> None:
    stale = tmp_path / "crd.yaml"
    stale.write_text(render().replace("maximum: 10000\n", "maximum: 9\n", 1))
    assert main(["--check", str(stale)]) == 1


def test_every_field_has_one_type_and_no_union() -> None:
    for path, node in (found for kind in DESCRIBED.values() for found in nodes(whole(kind))):
        assert isinstance(node.get("type"), str) or node == {ANY: True} | _described(node), path
        assert not {"anyOf", "oneOf", "allOf", "$ref", "x-kubernetes-int-or-string"} & set(node), path


def test_every_list_and_string_of_the_spec_is_bounded() -> None:
    for path, node in (found for kind in DESCRIBED.values() for found in nodes(whole(kind))):
        if path in (".apiVersion", ".kind"):
            continue
        if node.get("type") == "array":
            assert "maxItems" in node, path
        if node.get("type") == "string" and node.get("format") != "date-time":
            assert "maxLength" in node or "enum" in node, path


def test_only_free_form_maps_and_refused_fields_keep_what_the_schema_does_not_know() -> None:
    kept = {path for path, node in nodes(whole()) if node.get("x-kubernetes-preserve-unknown-fields")}
    options = {".spec.data.options", ".spec.data.validation.options"}
    # Values of a search's parameters are of whatever types the fields have that they are for.
    assert kept == {".spec.model.args", ".spec.model.env", ".status.origin.parameters", *options}


def test_every_field_of_the_models_is_in_the_schema() -> None:
    assert set(spec_schema()["properties"]) == {
        field.alias or name for name, field in Spec.model_fields.items()
    }


def test_every_rule_of_the_library_is_one_of_the_api_server_on_a_field_that_is_there() -> None:
    fields = {path for path, _ in nodes(spec_schema())}
    validations = spec_schema()["x-kubernetes-validations"]
    assert {rule.cel for rule in RULES} <= {each["rule"] for each in validations}
    assert {each["fieldPath"] for each in validations} <= fields


def test_all_but_the_mutable_fields_are_held_by_a_transition_rule() -> None:
    held = {
        each["fieldPath"].removeprefix(".")
        for each in spec_schema()["x-kubernetes-validations"]
        if "oldSelf" in each["rule"]
    }
    assert held == set(spec_schema()["properties"]) - set(MUTABLE)


def test_the_number_of_workers_may_change_while_a_synchronous_job_is_suspended() -> None:
    (rule,) = [
        each for each in spec_schema()["x-kubernetes-validations"] if "oldSelf.workers" in each["rule"]
    ]
    assert rule["rule"] == (
        "self.workers == oldSelf.workers || "
        "oldSelf.suspend && self.algorithm.mode == 'Sync' && !has(self.affinity)"
    )
    assert "only while the job is suspended" in rule["message"]


def test_defaults_say_nothing_twice() -> None:
    fields = dict(nodes(spec_schema()))
    assert fields[".algorithm"]["default"] == {"epochs": 10}
    assert fields[".merge"]["default"] == {}
    assert fields[".optimizer.schedule.name"]["default"] == "Constant"


def test_status_conditions_merge_by_type_and_columns_are_those_that_are_wanted() -> None:
    conditions = dict(nodes(whole()))[".status.conditions"]
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    version = crd()["spec"]["versions"][0]
    columns = [each["name"] for each in version["additionalPrinterColumns"]]
    assert columns == ["Succeeded", "Reason", "Step", "Loss", "Workers", "Cost", "Age"]
    assert version["subresources"] == {"status": {}}


def test_yaml_reads_back_as_the_same_definition() -> None:
    assert yaml.safe_load(render()) == crd()
