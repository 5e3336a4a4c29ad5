"""What is remarkable in a source, each with a remedy."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sapflow.preparation.inspection.column_summary import ColumnSummary
from sapflow.preparation.inspection.inspection import Inspection
from sapflow.preparation.steps.categories import MAX_CATEGORIES

Code = Literal[
    "BadRows", "TargetMissing", "TargetConstant", "TooManyClasses", "UnbalancedClasses", "TargetLeak", "AllMissing",
    "Constant", "Identifier", "LargeOffset", "InfiniteValues", "LooksLikeCodes", "MostlyNumbers", "HighCardinality",
    "FreeText",
]  # fmt: skip

LEAK = 0.9
"""A column that determines the target so far, or farther, is likely known only once the target is."""
_CERTAIN = 0.999
_LEAST_IDS = 20
"""Fewer rows may well have different values by chance."""
_NEARLY_ALL = 0.95
"""Of text, so many different values for each row are as good as all."""
_DENSE = 2
"""Whole numbers that are all different are ids if there are at least half as many as there could be between them."""
FREE_TEXT_WORDS = 6
"""Text of so many words on average is no category."""
MANY = 50
"""Categories beyond so many are joined, in the block to paste."""
HASHED = 1000
"""Categories of more different values than that are hashed."""
_RARE_CLASS, _COMMON_CLASS, _MANY_CLASSES = 0.1, 0.9, 1000
_FLOAT32_BITS = 24
_STEPS_OF_DEVIATION = 1000
"""A deviation should have at least so many steps of a float32."""
_CODE_NAME = re.compile(r"(^|_)(code|zip|zipcode|postcode|plz|sku|isbn|phone)$|(?<=[a-z])(Code|Zip)$")
_YEARS = (1000, 2999)
_NUMERAL = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")


@dataclass(frozen=True, slots=True)
class Finding:
    """`column` is empty where it is about the rows as such."""

    code: Code
    column: str
    message: str
    remedy: str


def findings(found: Inspection) -> list[Finding]:
    """All findings: about rows and target first, then column by column."""
    return [*_of_rows(found), *_of_target(found), *_of_columns(found)]


def _of_rows(found: Inspection) -> Iterator[Finding]:
    if found.bad:
        told = "; ".join(f"{reason} ({rows:,} rows)" for reason, rows in found.reasons)
        yield Finding(
            "BadRows",
            "",
            f"{found.bad:,} of {found.rows:,} rows cannot be read, and count nowhere else: {told}",
            "mend the source or its options; name what means that a value is missing (--missing); declare types; or "
            "allow bad rows by maxBadRows or maxBadShare",
        )


def _of_target(found: Inspection) -> Iterator[Finding]:
    if found.target is None:
        return
    target = found.column(found.target)
    name = target.name
    if target.present and target.missing:
        yield Finding(
            "TargetMissing",
            name,
            f"the target is missing in {target.missing:,} rows",
            f"leave them out: dropRows: {{columns: [{name}]}}",
        )
    if target.distinct == 1:
        yield Finding(
            "TargetConstant", name, "the target has one value only", "take more rows, or another target"
        )
    elif found.classes:
        yield from _of_classes(target)
    for column, share in sorted(found.determines.items(), key=lambda each: -each[1]):
        if share >= LEAK and found.column(column).distinct != 1:
            how = "determines" if share >= _CERTAIN else f"nearly determines ({share:.0%} of its entropy)"
            yield Finding(
                "TargetLeak",
                column,
                f"it {how} the target {name}: is it known before the target is?",
                f"if not, drop: {{columns: [{column}]}}",
            )


def _of_classes(target: ColumnSummary) -> Iterator[Finding]:
    if target.distinct is None or target.distinct > _MANY_CLASSES:
        number = "more than can be counted" if target.distinct is None else f"{target.distinct:,}"
        yield Finding(
            "TooManyClasses",
            target.name,
            f"the target has {number} classes",
            "join rare ones: encode with method: Classes and minCount",
        )
        return
    assert target.counts is not None, "it has values that were counted"
    shares = target.counts.rows / target.present
    if shares.max() >= _COMMON_CLASS or shares.min() * len(shares) < _RARE_CLASS:
        [(most, rows)] = target.top(1)
        least = int(target.counts.rows.min())
        yield Finding(
            "UnbalancedClasses",
            target.name,
            f"the most frequent class {most!r} has {rows / target.present:.1%} of the rows, the rarest {least:,} rows",
            "hold out a part of each class (split: {by: Stratified}), and look at balanced accuracy rather than "
            "accuracy",
        )


def _of_columns(found: Inspection) -> Iterator[Finding]:
    for each in found.columns:
        if each.name == found.target and each.present:
            continue
        yield from _of_column(each)


def _of_column(each: ColumnSummary) -> Iterator[Finding]:
    drop = f"drop: {{columns: [{each.name}]}}"
    if not each.present:
        yield Finding("AllMissing", each.name, "all its values are missing", drop)
        return
    if is_constant(each):
        yield Finding("Constant", each.name, "it has the same value in every row", drop)
        return
    if is_identifier(each):
        yield Finding("Identifier", each.name, "its values are all different, or nearly, as of an id", drop)
        return
    if each.numbers is not None:
        yield from _of_numbers(each)
    if each.column.kind == "Text":
        yield from _of_text(each)


def _of_numbers(each: ColumnSummary) -> Iterator[Finding]:
    numbers = each.numbers
    assert numbers is not None, "asked by the caller"
    if numbers.infinite:
        yield Finding(
            "InfiniteValues",
            each.name,
            f"{numbers.infinite:,} of its values are infinite",
            f"clip: {{columns: [{each.name}], min: {numbers.least:g}, max: {numbers.largest:g}}}",
        )
    step = max(abs(numbers.least), abs(numbers.largest)) * 2.0**-_FLOAT32_BITS
    if numbers.deviation and numbers.deviation < step * _STEPS_OF_DEVIATION:
        yield Finding(
            "LargeOffset",
            each.name,
            f"its values are near {numbers.mean:.6g} and differ by {numbers.deviation:.3g} only, which the float32 of "
            "a sample loses",
            f"scale: {{columns: [{each.name}], method: Standard}}, which counts in float64",
        )
    if are_codes(each):
        yield Finding(
            "LooksLikeCodes",
            each.name,
            "its numbers look like codes, whose size means nothing",
            f"encode: {{columns: [{each.name}], method: OneHot}}, or declare it Text",
        )


def _of_text(each: ColumnSummary) -> Iterator[Finding]:
    if words := not_numbers(each):
        shown = ", ".join(repr(word) for word in words[:3])
        yield Finding(
            "MostlyNumbers",
            each.name,
            f"most of its values are numbers, but not {shown}",
            "if that means missing, name it in missing (--missing), or declare the column Number and let others be bad "
            "rows",
        )
    elif is_free_text(each):
        yield Finding(
            "FreeText",
            each.name,
            "it is text of many words",
            f"bagOfWords: {{columns: [{each.name}], top: 1000, weights: TfIdf}}, or tokens",
        )
    elif each.distinct is None or each.distinct > MANY:
        number = f"more than {MAX_CATEGORIES:,}" if each.distinct is None else f"{each.distinct:,}"
        yield Finding(
            "HighCardinality",
            each.name,
            f"it has {number} different values",
            "encode with top, which joins the rare ones, or method: Hash with buckets",
        )


def is_constant(each: ColumnSummary) -> bool:
    """Whether the column has one value, and none is missing: where some are, that tells something."""
    if each.times is not None:
        return each.times.first == each.times.last and not each.missing
    return each.distinct == 1 and not each.missing


def is_identifier(each: ColumnSummary) -> bool:
    """Whether the column tells rows apart and nothing else: names, or whole numbers that count rows."""
    if each.present < _LEAST_IDS:
        return False
    if each.column.kind == "Text":
        return each.difference >= _NEARLY_ALL and not is_free_text(each) and not not_numbers(each)
    numbers = each.numbers
    if numbers is None or not numbers.integral or numbers.infinite or each.difference < 1:
        return False
    return numbers.increasing or numbers.largest - numbers.least + 1 <= _DENSE * each.present


def is_free_text(each: ColumnSummary) -> bool:
    """Whether the column is text rather than categories."""
    many = each.distinct is None or each.distinct > MANY
    return each.lengths is not None and many and each.lengths.words >= FREE_TEXT_WORDS


def are_codes(each: ColumnSummary) -> bool:
    """Whether numbers are rather names: by the column's own, or whole ones of the same length that leave most out."""
    numbers = each.numbers
    if numbers is None or not numbers.integral or numbers.least < 0 or each.column.width > 1:
        return False
    if _CODE_NAME.search(each.name):
        return True
    if each.distinct is None or (_YEARS[0] <= numbers.least and numbers.largest <= _YEARS[1]):
        return False
    same = numbers.least >= 100 and len(str(int(numbers.least))) == len(str(int(numbers.largest)))
    repeated = each.distinct * 5 <= each.present
    return same and repeated and each.distinct >= 2 and each.distinct * 20 <= numbers.largest - numbers.least


def not_numbers(each: ColumnSummary) -> list[str]:
    """Where a column of text has numbers in most rows and up to five other words: those words."""
    counts = each.counts
    if each.column.kind != "Text" or counts is None or counts.too_many or not len(counts.rows):
        return []
    others = np.array([not _NUMERAL.fullmatch(str(word)) for word in counts.values], bool)
    few = 0 < others.sum() <= 5
    if not few or counts.rows[others].sum() > 0.5 * each.present:
        return []
    return [str(counts.values[place]) for place in np.flatnonzero(others).tolist()]
