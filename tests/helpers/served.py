"""Served models for tests: a small table of flights, prepared in memory, and networks of random weights."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sapflow.data.data_file import DataFile
from sapflow.data.files import local_file
from sapflow.models.build import build
from sapflow.objects import safetensor
from sapflow.preparation.batch import Batch, Kind
from sapflow.preparation.fitted import FittedPreparation, digest
from sapflow.preparation.own_parts import steps_of
from sapflow.preparation.pipeline import Pipeline
from sapflow.preparation.profile import Profile
from sapflow.preparation.reading.reader import Asked
from sapflow.preparation.reading.registry import reader_of
from sapflow.preparation.samples import samples_of
from sapflow.serving.app import App
from sapflow.serving.served_model import ServedModel, decode
from sapflow.serving.server import Identity, Server
from sapflow.spec.preparation.prepare import PrepareSpec
from sapflow.spec.serving.decision import DecisionSpec
from sapflow.spec.serving.serve import BatchSpec, ServeLimitsSpec

CARRIERS = ("AA", "B6", "UA", "WN")
STEPS: list[dict[str, Any]] = [
    {"drop": {"columns": ["tail"]}},
    {"dates": {"columns": ["hour"], "parts": ["Hour", "Month"]}},
    {"impute": {"columns": ["delay"], "strategy": "Median", "indicator": True}},
    {"scale": {"columns": ["delay", "distance"], "method": "Standard"}},
    {"encode": {"columns": ["carrier"], "method": "OneHot"}},
    {"encode": {"columns": ["late"], "method": "Classes"}},
]


def flights(count: int = 200, seed: int = 3) -> list[dict[str, Any]]:
    """Raw rows with their target; a tenth of the delays is missing."""
    random = np.random.default_rng(seed)
    return [
        {
            "delay": None if random.random() < 0.1 else round(float(random.normal(10, 20)), 1),
            "distance": int(random.integers(100, 3000)),
            "carrier": CARRIERS[int(random.integers(4))],
            "hour": f"2013-{random.integers(1, 13):02}-05T{random.integers(24):02}:30:00",
            "tail": f"N{number:04}",
            "late": "yes" if number % 3 else "no",
        }
        for number in range(count)
    ]


def csv_of(rows: list[dict[str, Any]]) -> str:
    """The rows as CSV with a header."""
    lines = [",".join(rows[0])]
    lines += [",".join("" if each is None else str(each) for each in row.values()) for row in rows]
    return "\n".join(lines) + "\n"


def fit(
    files: Sequence[DataFile],
    format: str,
    prepare: Mapping[str, Any],
    columns: Mapping[str, Kind] | None = None,
) -> FittedPreparation:
    """A preparation, fitted to all rows of these files."""
    spec = PrepareSpec.model_validate(prepare)
    reader = reader_of(format)
    plan = reader.survey(files, Asked({}, columns or {}))
    if plan.to_scan:
        plan = reader.cut(plan, [reader.scan(files, plan, number) for number in plan.to_scan])
    pipeline = Pipeline(steps_of(spec, 0, plan.types, {}), plan.types, deals=True)
    state = pipeline.begin()
    while not state.fitted:
        counted: Any = {}
        for number in range(len(plan.partitions)):
            for parsed in reader.batches(files, plan, number):
                counted = pipeline.collect(state, parsed.batch, counted)
        state = pipeline.next(state, counted)
    samples = samples_of(pipeline.schema(state), spec.target)
    return FittedPreparation(plan.model_copy(update={"partitions": (), "to_scan": ()}), state, samples)


def fitted(folder: Path) -> FittedPreparation:
    """The preparation of the flights, fitted to them."""
    file = folder / "flights.csv"
    file.write_text(csv_of(flights()))
    return fit(
        [local_file(file)], "csv", {"target": "late", "steps": STEPS}, {"carrier": "Text", "tail": "Text"}
    )


@dataclass(frozen=True)
class Files:
    """The files of a model."""

    model: bytes
    preparation: bytes | None

    def served(self, decision: Mapping[str, Any] | None = None) -> ServedModel:
        """The model, ready to answer."""
        spec = None if decision is None else DecisionSpec.model_validate(decision)
        return decode(memoryview(self.model), "the model", self.preparation, spec)

    def write(self, folder: Path) -> Path:
        """Write them as a job's result has them; the model's path."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.preparation is not None:
            (folder / "preparation.safetensors").write_bytes(self.preparation)
        path = folder / "model.safetensors"
        path.write_bytes(self.model)
        return path


def model_file(
    args: Mapping[str, Any], description: Mapping[str, Any], name: str = "mlp", seed: int = 1
) -> bytes:
    """A model's file with the weights of a seed."""
    about = {"model": {"name": name, "args": dict(args)}, "scale": [1.0], "shift": [0.0], **description}
    module = build(name, args, inputs=tuple(about["inputs"]), outputs=about["outputs"], seed=seed)
    arrays = {key: each.detach().numpy() for key, each in module.state_dict().items()}
    header = safetensor.encode_header(
        {key: (each.dtype, each.shape) for key, each in arrays.items()}, {"sapflow": json.dumps(about)}
    )
    return b"".join([header, *(np.ascontiguousarray(each).tobytes() for each in arrays.values())])


def files_of(preparation: FittedPreparation, seed: int = 1) -> Files:
    """A model of classes on what the preparation makes, with random weights."""
    content = preparation.record().encode()
    names = list(preparation.samples.classes or ())
    description = {
        "inputs": list(preparation.samples.shape),
        "outputs": 1 if len(names) == 2 else len(names),
        "task": "classification",
        "classes": len(names),
        "classNames": names,
        "columns": list(preparation.samples.names),
        "preparation": digest(content),
    }
    return Files(model_file({"hidden": [8]}, description, seed=seed), content)


def late_files(folder: Path, seed: int = 1) -> Files:
    """A model of flights: raw columns to `yes` or `no`."""
    return files_of(fitted(folder), seed)


def plain_files(inputs: int = 3, name: str = "mlp") -> Files:
    """A model of three classes on samples as they are, without names."""
    shape = [inputs] if name == "mlp" else [1, 16, 16]
    description = {"inputs": shape, "outputs": 3, "task": "classification", "classes": 3}
    return Files(model_file({} if name != "mlp" else {"hidden": [4]}, description, name), None)


@dataclass(frozen=True)
class Answer:
    """What the application has answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @classmethod
    def of(cls, sent: Sequence[Any]) -> "Answer":
        """The answer of ASGI's messages."""
        start, end = sent
        told = {name.decode(): value.decode() for name, value in start["headers"]}
        return cls(start["status"], told, end["body"])

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class AskedApp:
    """An application, asked as a server would ask it, in one event loop."""

    def __init__(
        self,
        model: ServedModel,
        *,
        limits: Mapping[str, Any] | None = None,
        batch: Mapping[str, Any] | None = None,
        token: str | None = None,
        ready: bool = True,
    ) -> None:
        given = None if token is None else lambda: token
        self.server = Server(
            model,
            Identity("late", "2", "0" * 64),
            ServeLimitsSpec.model_validate(limits or {}),
            BatchSpec.model_validate(batch or {}),
            given,
        )
        self.server.metrics.ready = ready
        self.app = App(self.server)

    def ask(self, method: str, path: str, body: bytes | str = b"", **headers: str) -> Answer:
        """The answer to one request; headers are named with underscores."""
        return asyncio.run(self.asked(method, path, body, None, **headers))

    def post(self, path: str, value: Any, **headers: str) -> Answer:
        """The answer to JSON."""
        return self.ask("POST", path, json.dumps(value), content_type="application/json", **headers)

    async def asked(
        self, method: str, path: str, body: bytes | str = b"", sent: list[Any] | None = None, **headers: str
    ) -> Answer:
        """The same within an event loop. `sent` gets ASGI's messages, also where the application raises."""
        content = body.encode() if isinstance(body, str) else body
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        }
        sent = [] if sent is None else sent

        async def receive() -> Any:
            return {"type": "http.request", "body": content}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        return Answer.of(sent)


def profile_of(model: ServedModel, rows: list[dict[str, Any]]) -> Profile:
    """Golden rows and ranges of these raw rows, as a preparation leaves them."""
    known = {each.name for each in model.table.columns}
    given = {name: [row[name] for row in rows] for name in rows[0] if name in known}
    raw = model.table.rows(given, len(rows))
    numbers = {
        each.name: np.asarray(raw.columns[each.name]) for each in model.table.columns if each.kind == "Number"
    }
    return Profile(
        Batch(raw.columns, np.arange(len(rows))),
        model.compute(raw).features,
        {name: (float(np.nanmin(each)), float(np.nanmax(each))) for name, each in numbers.items()},
        {"carrier": tuple(sorted({row["carrier"] for row in rows}))},
    )
