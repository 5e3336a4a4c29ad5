"""`sapflow predict --url`, and `sapflow predict ms/NAME`: asks a served model."""

import argparse
import json
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from sapflow.cli.cluster_options import connect
from sapflow.cli.output import print_json
from sapflow.client import cluster_service
from sapflow.client.served import Served
from sapflow.errors import DataError

_INPUTS = "rows as .csv, .json or .jsonl, or - for CSV on standard input"


def run(given: argparse.Namespace) -> int:
    """Returns exit code 0 after printing the decisions. Raises DataError, NotAnswered."""
    names = [each for each in (given.model, given.input) if each is not None]
    if len(names) != 1:
        raise DataError(f"give --url and one INPUT: {_INPUTS}")
    return _print(given, _decided(Served(given.url, given.token), names[0]))


def run_service(given: argparse.Namespace, name: str, environ: Mapping[str, str]) -> int:
    """The same of the ModelService of a name in the cluster. Raises SapflowError."""
    if given.input is None:
        raise DataError(f"give ms/{name} and INPUT: {_INPUTS}")
    with closing(connect(given, environ)) as cluster:
        served = cluster_service.served(
            cluster, cluster.namespace, name, gateway=given.gateway, token=given.token
        )
    return _print(given, _decided(served, given.input))


def _print(given: argparse.Namespace, made: list[dict[str, Any]]) -> int:
    if given.json:
        print_json({"decisions": made})
        return 0
    for number, decision in enumerate(made):
        print(f"{number}: {in_words(decision)}")
    return 0


def _decided(served: Served, name: str) -> list[dict[str, Any]]:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{name} cannot be read: {error}") from error
    try:
        if name.endswith(".jsonl"):
            return served.predict([json.loads(line) for line in text.splitlines() if line.strip()])
        if name.endswith(".json"):
            found = json.loads(text)
            return served.predict(found["rows"] if isinstance(found, dict) else found)
    except (ValueError, KeyError) as error:
        raise DataError(f"{name} holds no rows: {error}") from error
    if name != "-" and not name.endswith(".csv"):
        raise DataError(f"{name}: give {_INPUTS}")
    return served.predict_csv(text)


def in_words(decision: dict[str, Any]) -> str:
    """A decision as text for people."""
    if "message" in decision:
        return str(decision["message"])
    if "label" in decision:
        return f"{decision['label']} ({decision['probability'] * 100:.1f} %)"
    if "labels" in decision:
        return ", ".join(map(str, decision["labels"])) or "no label"
    if "boxes" in decision:
        told = [f"{each['label']} ({each['score'] * 100:.1f} %)" for each in decision["boxes"]]
        return ", ".join(told) or "nothing"
    values = decision.get("values", [decision.get("value")])
    return ", ".join(f"{each:.6g}" for each in values)
