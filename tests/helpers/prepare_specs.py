"""What `spec.data.prepare` may say and may not: for the library, and for an API server."""

from typing import Any

from helpers.jobs import document

SOURCE = "s3://bucket/flights"
STEPS: list[dict[str, Any]] = [
    {"select": {"columns": ["*_delay", "carrier"]}},
    {"drop": {"columns": ["tailnum"]}},
    {"rename": {"names": {"a": "b"}}},
    {"cast": {"columns": ["flight"], "type": "Text"}},
    {"dropRows": {"columns": ["dep_delay"]}},
    {"impute": {"columns": ["*"], "strategy": "Mean", "indicator": True}},
    {"impute": {"columns": ["*"], "strategy": "Constant", "value": 0, "text": "none"}},
    {"scale": {"columns": ["x"], "method": "Standard", "by": "carrier"}},
    {"scale": {"columns": ["x"], "method": "Robust"}},
    {"bin": {"columns": ["x"], "quantiles": 10}},
    {"bin": {"columns": ["x"], "edges": [-1, 0, 2.5]}},
    {"clip": {"columns": ["x"], "min": -1, "max": 1}},
    {"clip": {"columns": ["x"], "max": 1}},
    {"log1p": {"columns": ["x"]}},
    {"encode": {"columns": ["c"], "method": "OneHot", "top": 10, "rare": "Join", "unseen": "Other"}},
    {"encode": {"columns": ["c"], "method": "Ordinal", "unseen": "Ignore", "unseenValue": -2}},
    {"encode": {"columns": ["c"], "method": "Hash", "buckets": 64}},
    {"encode": {"columns": ["late"], "method": "Classes"}},
    {"cross": {"columns": ["a", "b"], "name": "a_x_b"}},
    {"dates": {"columns": ["time_hour"], "parts": ["Year", "WeekdaySin"]}},
    {"tokens": {"column": "text", "vocabulary": 8000, "length": 128}},
    {"tokens": {"column": "text", "tokenizer": "s3://bucket/tokenizer.json", "length": 128}},
    {"bagOfWords": {"columns": ["text"], "top": 1000, "weights": "TfIdf"}},
    {"bagOfWords": {"columns": ["text"], "buckets": 1024}},
    {"image": {"column": "image", "resize": [32, 32], "crop": [28, 28], "channels": 1}},
]
"""Each is accepted."""

SPLITS: list[dict[str, Any]] = [
    {},
    {"fraction": 0},
    {"fraction": 0.2, "by": "Row"},
    {"by": "Stratified"},
    {"by": "Stratified", "column": "late"},
    {"by": "Group", "column": "carrier", "fraction": 0.1},
    {"column": "year", "numbers": [2013, 2014]},
    {"column": "carrier", "values": ["UA"]},
]
"""Each is accepted."""


def _step(**step: Any) -> dict[str, Any]:
    return {"prepare": {"target": "late", "steps": [{"drop": {"columns": ["a"]}}, step]}}


def _prepare(**prepare: Any) -> dict[str, Any]:
    return {"prepare": {"target": "late", **prepare}}


def _encode(**more: Any) -> dict[str, Any]:
    return _step(encode={"columns": ["c"], "method": "OneHot", **more})


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "jsonl without prepare": ({"format": "jsonl"}, "format", "hold no samples as they are"),
    "images without prepare": ({"format": "images"}, "format", "say under prepare how they are made"),
    "a source of samples": (_prepare() | {"source": "sklearn:iris"}, "prepare", "is for files"),
    "normalize": (_prepare() | {"normalize": "Scale"}, "normalize", "add a step scale"),
    "another fraction": (_prepare() | {"validationFraction": 0.1}, "validationFraction", "must be left out"),
    "split of the cut": (_prepare() | {"split": "Stratified"}, "split", "Stratified is prepare.split.by"),
    "validation": (
        _prepare() | {"validation": {"source": "s3://bucket/b"}},
        "validation",
        "must be left out",
    ),
    "two limits of bad rows": (
        _prepare(maxBadRows=1, maxBadShare=0.1),
        "prepare.maxBadShare",
        "one of the two",
    ),
    "values and a fraction": (
        _prepare(split={"column": "c", "values": ["a"], "fraction": 0.1}),
        "prepare.split",
        "give one of fraction, values and numbers",
    ),
    "values and numbers": (
        _prepare(split={"column": "c", "values": ["a"], "numbers": [1]}),
        "prepare.split",
        "give one of fraction, values and numbers",
    ),
    "values and a way to draw": (
        _prepare(split={"column": "c", "values": ["a"], "by": "Group"}),
        "prepare.split",
        "give one of fraction, values and numbers",
    ),
    "values of no column": (_prepare(split={"values": ["a"]}), "prepare.split.column", "is needed by values"),
    "groups of no column": (_prepare(split={"by": "Group"}), "prepare.split.column", "by: Group"),
    "a column to draw rows": (
        _prepare(split={"column": "c"}),
        "prepare.split.column",
        "leave it out where rows",
    ),
    "two steps in one": (
        _step(drop={"columns": ["a"]}, log1p={"columns": ["b"]}),
        "prepare.steps[1]",
        "exactly one key in each item, one of select, drop",
    ),
    "no step": (_step(), "prepare.steps[1]", "exactly one key in each item"),
    "a Constant that is none": (
        _step(impute={"columns": ["a"], "strategy": "Constant"}),
        "prepare.steps[1].impute",
        "needs value or text for strategy Constant",
    ),
    "a value that is no Constant": (
        _step(impute={"columns": ["a"], "strategy": "Mean", "value": 1}),
        "prepare.steps[1].impute",
        "takes neither otherwise",
    ),
    "no bins": (_step(bin={"columns": ["a"]}), "prepare.steps[1].bin", "needs either quantiles or edges"),
    "bins twice": (
        _step(bin={"columns": ["a"], "quantiles": 3, "edges": [1]}),
        "prepare.steps[1].bin",
        "needs either quantiles or edges",
    ),
    "edges that fall": (
        _step(bin={"columns": ["a"], "edges": [2, 1]}),
        "prepare.steps[1].bin.edges",
        "must be ascending",
    ),
    "no bound": (_step(clip={"columns": ["a"]}), "prepare.steps[1].clip", "needs min or max"),
    "bounds the wrong way round": (
        _step(clip={"columns": ["a"], "min": 2, "max": 1}),
        "prepare.steps[1].clip",
        "min is at most max",
    ),
    "Hash without buckets": (
        _encode(method="Hash"),
        "prepare.steps[1].encode.buckets",
        "goes with method Hash, and Hash needs it",
    ),
    "buckets without Hash": (_encode(buckets=4), "prepare.steps[1].encode.buckets", "goes with method Hash"),
    "Hash that learns": (
        _encode(method="Hash", buckets=4, top=3),
        "prepare.steps[1].encode",
        "learns no categories with method Hash",
    ),
    "rare without a limit": (
        _encode(rare="Join"),
        "prepare.steps[1].encode.rare",
        "goes with top or minCount",
    ),
    "Other without a limit": (
        _encode(unseen="Other"),
        "prepare.steps[1].encode.unseen",
        "Other needs rare categories",
    ),
    "classes that are ignored": (
        _encode(method="Classes", unseen="Ignore"),
        "prepare.steps[1].encode.unseen",
        "Ignore is for OneHot and Ordinal",
    ),
    "a value of nothing unseen": (
        _encode(unseenValue=3),
        "prepare.steps[1].encode.unseenValue",
        "goes with method Ordinal and unseen: Ignore",
    ),
    "no tokenizer": (
        _step(tokens={"column": "t", "length": 3}),
        "prepare.steps[1].tokens",
        "needs either vocabulary or tokenizer",
    ),
    "words twice": (
        _step(bagOfWords={"columns": ["t"], "top": 3, "buckets": 4}),
        "prepare.steps[1].bagOfWords",
        "needs either buckets or top",
    ),
    "more than there is": (
        _step(image={"column": "i", "resize": [8, 9], "crop": [8, 10]}),
        "prepare.steps[1].image.crop",
        "must be at most resize",
    ),
}
"""By what is wrong: fields of `data`, the field that is told, and a part of what is said."""

REFUSED_IN_A_CLUSTER: dict[str, tuple[dict[str, Any], str, str]] = {
    name: (
        _step(tokens={"column": "t", "length": 3, "tokenizer": place}),
        "prepare.steps[1].tokens.tokenizer",
        "copy the file to a prefix of its own",
    )
    for name, place in {
        "a path": "./tokenizer.json",
        "no key": "s3://bucket",
        "another job's": "s3://bucket/jobs/0f6b/tokenizer.json",
        "shared data": "s3://bucket/shared/0123456789abcdef0123456789abcdef/tokenizer.json",
        "a wildcard": "s3://bucket/words/*.json",
    }.items()
}
"""The same of what functions on this machine may read."""


def prepared(**data: Any) -> dict[str, Any]:
    """A job on raw data, with these fields in `data`."""
    found = document(data={"source": SOURCE, **data})
    found["metadata"] = {"name": "prepared"}
    return found
