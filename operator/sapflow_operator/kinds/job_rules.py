"""What the API server checks of a TrainingJob's spec, and of a spec that is the template of others. Pure."""

from typing import Any

from sapflow.spec.rules import RULES


def job_rules() -> list[dict[str, Any]]:
    """The library's rules for the spec, and those for the merge tree, which have another form in CEL."""
    found = [{"rule": rule.cel, "message": rule.message, "fieldPath": f".{rule.field}"} for rule in RULES]
    structure = "self.merge.structure"
    for condition, message in (
        (f"{structure}[0] == 1", "must start at 1: there is one root"),
        (f"{structure}[size({structure}) - 1] == self.workers", "must end at the number of workers"),
        (f"{structure}.isSorted()", "may not have a level wider than the one below it"),
    ):
        rule = f"!has({structure}) || {condition}"
        found.append({"rule": rule, "message": message, "fieldPath": ".merge.structure"})
    return found
