"""Reads YAML like `kubectl`, but refuses what it would silently misread."""

import math
import re
from typing import Any

import yaml

_FLOAT = "tag:yaml.org,2002:float"


class Loader(yaml.SafeLoader):
    """Refuses duplicate keys in a mapping, of which YAML silently keeps the last, and reads 1e-3 as a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"{key.value!r} is there twice", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> float | str:
        """The number; or the text if it is too large, such as 12e4567, which is then meant as a name."""
        value = float(super().construct_yaml_float(node))
        return value if math.isfinite(value) or not node.value.lstrip("-+")[0].isdigit() else str(node.value)


# PyYAML follows YAML 1.1, in which only 1.0e-3 is a number.
Loader.add_implicit_resolver(
    _FLOAT, re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)[eE][-+]?\d+\Z"), list("-+.0123456789")
)
Loader.add_constructor(_FLOAT, Loader.construct_number)


def documents(text: str) -> list[Any]:
    """The non-empty documents of a text. Raises yaml.YAMLError."""
    return [document for document in yaml.load_all(text, Loader) if document is not None]
