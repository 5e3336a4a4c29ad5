"""Generates a kind's CustomResourceDefinition from its spec's models and rules.

python -m sapflow_operator.kinds.crd > manifests/crds/sapflow.dev_trainingjobs.yaml
python -m sapflow_operator.kinds.crd --kind KIND > FILE
python -m sapflow_operator.kinds.crd [--kind KIND] --check FILE
python -m sapflow_operator.kinds.crd --all FOLDER            a file for each kind
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import yaml

from sapflow.spec.rules import CLUSTER_NAME
from sapflow.spec.types import MAX_NAME
from sapflow_operator import names
from sapflow_operator.kind import Definition
from sapflow_operator.kinds.model_service import MODEL_SERVICE
from sapflow_operator.kinds.registry import KINDS
from sapflow_operator.kinds.training_job import TRAINING_JOB
from sapflow_operator.kinds.trial import TRIAL
from sapflow_operator.names import Resource

_KEPT = (
    "description", "type", "format", "enum", "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems",
    "maxItems", "minProperties", "maxProperties", "required",
)  # fmt: skip
_INT64 = 2**63
_HEADER = "# Generated from {} by `python -m sapflow_operator.kinds.crd`.\n"


class Described(Protocol):
    """A kind of resource and its definition."""

    @property
    def resource(self) -> Resource: ...

    @property
    def definition(self) -> Definition: ...


_DESCRIBED: tuple[Described, ...] = (*KINDS, TRIAL, MODEL_SERVICE)
DESCRIBED = {each.resource.kind: each for each in _DESCRIBED}
"""All custom resources, by kind."""


def crd(kind: Described = TRAINING_JOB) -> dict[str, Any]:
    """The CustomResourceDefinition as a JSON value."""
    resource, definition = kind.resource, kind.definition
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": resource.kind,
                "listKind": f"{resource.kind}List",
                "plural": resource.plural,
                "singular": resource.kind.lower(),
                "shortNames": list(definition.short_names),
                "categories": ["sapflow"],
            },
            "versions": [
                {
                    "name": names.VERSION,
                    "served": True,
                    "storage": True,
                    **({"subresources": {"status": {}}} if definition.served else {}),
                    "additionalPrinterColumns": _columns(definition),
                    "schema": {"openAPIV3Schema": _root_schema(definition)},
                }
            ],
        },
    }


def file_name(kind: Described) -> str:
    """The name of the file of a CRD."""
    return f"{names.GROUP}_{kind.resource.plural}.yaml"


def render(kind: Described = TRAINING_JOB) -> str:
    """The CRD as YAML."""
    header = _HEADER.format(kind.definition.made_from)
    return header + yaml.dump(crd(kind), Dumper=_Plain, sort_keys=False, width=110, allow_unicode=True)


class _Plain(yaml.SafeDumper):
    """Writes equal parts out, each in its place."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def spec_schema(definition: Definition = TRAINING_JOB.definition) -> dict[str, Any]:
    """The structural schema of `spec`, its rules included."""
    full = definition.spec.model_json_schema(by_alias=True, mode="validation")
    schema = _structural(full, full.get("$defs", {}))
    schema["description"] = definition.spec_description
    rules = map(dict, definition.rules)
    schema["x-kubernetes-validations"] = [*rules, *_immutable(schema, definition)]
    for path, inner in definition.inner_rules.items():
        node = schema
        for name in path.split("."):
            node = node["properties"][name]
        node["x-kubernetes-validations"] = list(map(dict, inner))
    return schema


def _root_schema(definition: Definition) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "description": definition.description,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec_schema(definition),
            "status": dict(definition.status),
        },
    }
    return schema | {"x-kubernetes-validations": _name_rules()} if definition.served else schema


def _name_rules() -> list[dict[str, str]]:
    return [
        {
            "rule": f"size(self.metadata.name) <= {MAX_NAME}",
            "message": f"metadata.name must have at most {MAX_NAME} characters: it begins the names of Services",
        },
        {
            "rule": f"self.metadata.name.matches(r'{CLUSTER_NAME}')",
            "message": "metadata.name must begin with a letter and hold lower-case letters, digits and '-' only: "
            "it begins the names of Services",
        },
    ]


def _columns(definition: Definition) -> list[dict[str, Any]]:
    def condition(field: str) -> str:
        return f'.status.conditions[?(@.type=="{definition.condition}")].{field}'

    state = [
        {"name": definition.condition, "type": "string", "jsonPath": condition("status")},
        {"name": "Reason", "type": "string", "jsonPath": condition("reason")},
    ]
    return [
        *(state if definition.served else ()),
        *map(dict, definition.columns),
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]


def _structural(node: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    """A JSON Schema of pydantic as a structural schema, without references, unions and nulls."""
    node = _resolved(node, defs)
    schema = {name: node[name] for name in _KEPT if name in node}
    if "const" in node:
        schema["enum"] = [node["const"]]
    if "description" in schema:
        schema["description"] = " ".join(schema["description"].split())
    for bound in ("minimum", "maximum"):
        exclusive = f"exclusive{bound.capitalize()}"
        if exclusive in node and node[exclusive] < _INT64:
            schema |= {bound: node[exclusive], exclusive: True}
    if schema.get("type") == "integer":
        schema["format"] = "int64"
    if "items" in node:
        schema["items"] = _structural(node["items"], defs)
    if "properties" in node:
        schema["properties"] = {name: _structural(each, defs) for name, each in node["properties"].items()}
    elif isinstance(node.get("additionalProperties"), dict):
        schema["additionalProperties"] = _structural(node["additionalProperties"], defs)
    elif schema.get("type", "object") == "object":
        # Without a type it is any value.
        schema["x-kubernetes-preserve-unknown-fields"] = True
    if node.get("default") is not None:
        schema["default"] = _least(node["default"], schema)
    return schema


def _resolved(node: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    """The node with its reference resolved and without the null of optional fields."""
    if "anyOf" in node:
        (kept,) = (each for each in node["anyOf"] if each.get("type") != "null")
        node = kept | {name: value for name, value in node.items() if name != "anyOf"}
    if "$ref" in node:
        found = defs[node["$ref"].rpartition("/")[2]]
        node = found | {name: value for name, value in node.items() if name != "$ref"}
    return node


def _least(default: Any, schema: dict[str, Any]) -> Any:
    """A default without the values that nested defaults repeat."""
    if not isinstance(default, dict):
        return default
    inner = schema.get("properties", {})
    return {
        name: _least(value, inner.get(name, {}))
        for name, value in default.items()
        if value is not None and value != {} and _least(value, {}) != _default(inner.get(name, {}))
    }


def _default(schema: dict[str, Any]) -> Any:
    """The default value of a field, with nested defaults."""
    if "default" not in schema or not isinstance(schema["default"], dict):
        return schema.get("default")
    return {
        name: _default(each) for name, each in schema.get("properties", {}).items() if "default" in each
    } | (schema["default"])


def _immutable(schema: dict[str, Any], definition: Definition) -> Iterator[dict[str, Any]]:
    mutable = definition.mutable
    for name, field in schema["properties"].items():
        if name in mutable:
            continue
        rule = f"self.{name} == oldSelf.{name}"
        if name not in schema.get("required", ()) and "default" not in field:
            rule = f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || {rule})"
        only = f"; only {', '.join(mutable)} can be changed" if mutable else ""
        message = f"cannot be changed: delete the job and create it anew, or create another{only}"
        if name in definition.conditional:
            condition, message = definition.conditional[name]
            rule = f"{rule} || {condition}"
        yield {"rule": rule, "message": message, "fieldPath": f".{name}"}


def main(argv: Sequence[str]) -> int:
    """Print a CRD or compare it with a file, or write all of them."""
    parser = argparse.ArgumentParser(prog="python -m sapflow_operator.kinds.crd", description=crd.__doc__)
    parser.add_argument("--check", metavar="FILE", help="exit with 1 unless FILE is what would be printed")
    parser.add_argument("--kind", choices=sorted(DESCRIBED), default=names.KIND, help="default: %(default)s")
    parser.add_argument("--all", metavar="FOLDER", help="write a file for each kind")
    given = parser.parse_args(argv)
    if given.all is not None:
        for kind in DESCRIBED.values():
            Path(given.all, file_name(kind)).write_text(render(kind), encoding="utf-8")
        return 0
    text = render(DESCRIBED[given.kind])
    if given.check is None:
        sys.stdout.write(text)
        return 0
    if Path(given.check).read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write(
        f"{given.check} is out of date: python -m sapflow_operator.kinds.crd --kind {given.kind} > {given.check}\n"
    )
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
