"""YAML as `kubectl` reads it, and without its silent traps."""

import math
import re
from typing import Any

import yaml

_FLOAT = "tag:yaml.org,2002:float"


class Loader(yaml.SafeLoader):
    """Refuses a mapping with a key twice, of which YAML would keep the last without a word; 1e-3 is a number."""

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
        """A number; text where it is too large for one, as 12e4567, which then is meant as a name."""
        value = float(super().construct_yaml_float(node))
        return value if math.isfinite(value) or not node.value.lstrip("-+")[0].isdigit() else str(node.value)


# PyYAML knows only 1.0e-3, as YAML 1.1 says.
Loader.add_implicit_resolver(
    _FLOAT, re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)[eE][-+]?\d+\Z"), list("-+.0123456789")
)
Loader.add_constructor(_FLOAT, Loader.construct_number)


def documents(text: str) -> list[Any]:
    """The documents of a text, empty ones left out. Raises yaml.YAMLError."""
    return [document for document in yaml.load_all(text, Loader) if document is not None]
