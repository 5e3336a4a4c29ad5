"""Messages by template: a sentence with places for what was decided and for columns of the raw row."""

import re
from collections.abc import Mapping

from sapflow.spec.serving.decision import DecisionSpec

_PLACE = re.compile(r"\{([^{}:]+)(?::(\.[0-9][f%]))?\}")
ROW = "row."


def filled(template: str, values: Mapping[str, object], row: Mapping[str, object]) -> str:
    """The template's sentence. What is missing, in the row or of the decision, is written as nothing."""

    def place(found: re.Match[str]) -> str:
        name, form = found[1], found[2]
        value = row.get(name.removeprefix(ROW)) if name.startswith(ROW) else values.get(name)
        if value is None:
            return ""
        if form and isinstance(value, int | float):
            return format(value, form)
        return f"{value:g}" if isinstance(value, float) else str(value)

    return _PLACE.sub(place, template)


def message(decision: DecisionSpec, values: Mapping[str, object], row: Mapping[str, object]) -> str | None:
    """The message about what was decided; None where the decision has none."""
    template = (decision.messages or {}).get(str(values.get("label")), decision.message)
    return None if template is None else filled(template, values, row)


def columns_of(decision: DecisionSpec) -> set[str]:
    """The columns of the raw row that messages name."""
    templates = [decision.message or "", *(decision.messages or {}).values()]
    names = {found[1] for each in templates for found in _PLACE.finditer(each)}
    return {name.removeprefix(ROW) for name in names if name.startswith(ROW)}
