"""The TrainingJob for Python: the document that YAML would have, and also what only a program has: data and models as
objects."""

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from sapflow.client import factory
from sapflow.client.factory import Factory
from sapflow.client.fields import to_document
from sapflow.data import in_memory
from sapflow.data.chunks import Source
from sapflow.errors import DataError, SpecError
from sapflow.spec import training_job as specs
from sapflow.spec.document import one_document, parse
from sapflow.spec.training_job import API_VERSION, KIND, Spec

Fields = Mapping[str, Any] | BaseModel
"""The fields of a part of the spec: a dict with names in snake_case or as in YAML, or a model of sapflow.spec."""


class TrainingJob:
    """A checked job, to be run on this machine (`sapflow.run`) or in a cluster (`sapflow.Client.submit`).

    The keyword arguments are the fields of `spec`, with the defaults in docs/reference/spec.md. Names are in snake_case
    instead of YAML's camelCase: `algorithm={"local_steps": 10}`. In addition to what YAML allows,

    - `model` may be a factory, a function or class that returns a torch.nn.Module; functools.partial gives it
      arguments;
    - `data` may be samples: NumPy arrays `(features, targets)` or `{"x": …, "y": …}`, a pandas DataFrame, an Arrow
      table, or a torch Dataset of pairs. To give other fields, too, make them the source: `data={"source": (x, y),
      "batch_size": 64}`, and samples to evaluate on `"validation": {"source": (x_test, y_test)}`.

    A job is immutable. Raises SpecError with all problems, each with its path in the spec.
    """

    def __init__(
        self,
        name: str,
        *,
        model: str | Callable[..., object] | Fields,
        data: object,
        workers: int,
        algorithm: Fields | None = None,
        optimizer: str | Fields | None = None,
        merge: Fields | None = None,
        memory: Fields | None = None,
        cpu: Fields | None = None,
        affinity: Sequence[Fields] | None = None,
        placement: Fields | None = None,
        pods: Fields | None = None,
        threads: int | None = None,
        evaluation: Fields | None = None,
        limits: Fields | None = None,
        checkpoint: Fields | None = None,
        begins_at: Fields | None = None,
        parameters_from: Fields | None = None,
        storage: Fields | None = None,
        serve: Fields | None = None,
        prices: str | Fields | None = None,
        suspend: bool | None = None,
        ttl_seconds_after_finished: int | None = None,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """`namespace` and `labels` are for a cluster. `optimizer` may be just its name, and `prices` a platform."""
        self._factory, model_fields = _model(model)
        self._samples, self._held_out, data_fields = _data(data)
        spec = to_document(
            {
                "model": model_fields,
                "data": data_fields,
                "workers": workers,
                "algorithm": algorithm,
                "optimizer": {"name": optimizer} if isinstance(optimizer, str) else optimizer,
                "merge": merge,
                "memory": memory,
                "cpu": cpu,
                "affinity": affinity,
                "placement": placement,
                "pods": pods,
                "threads": threads,
                "evaluation": evaluation,
                "limits": limits,
                "checkpoint": checkpoint,
                "begins_at": begins_at,
                "parameters_from": parameters_from,
                "storage": storage,
                "serve": serve,
                "prices": {"platform": prices} if isinstance(prices, str) else prices,
                "suspend": suspend,
                "ttl_seconds_after_finished": ttl_seconds_after_finished,
            },
            Spec,
            "spec",
        )
        metadata: dict[str, Any] = {"name": name}
        if namespace is not None:
            metadata["namespace"] = namespace
        if labels is not None:
            metadata["labels"] = dict(labels)
        self._folder: Path | None = None
        self._take({"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec})

    @classmethod
    def from_yaml(cls, path_or_text: str | Path) -> "TrainingJob":
        """The job in a YAML (or JSON) file, or in a text, which has more than one line or begins with a brace.

        A model's entrypoint is also searched for in the file's folder. Raises SpecError, and DataError if the file
        cannot be read.
        """
        job = cls.__new__(cls)
        job._factory = job._samples = job._held_out = job._folder = None
        text = str(path_or_text)
        is_text = "\n" in text.strip() or text.lstrip().startswith("{")
        if isinstance(path_or_text, Path) or not is_text:
            path = Path(path_or_text)
            job._folder = path.resolve().parent
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                problem = getattr(error, "strerror", None) or str(error)
                raise DataError(
                    f"{path} cannot be read: {problem}; give the path of a job's YAML, or the YAML itself"
                ) from error
        job._take(one_document(text))
        return job

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "TrainingJob":
        """The job in a decoded YAML document. Raises SpecError."""
        job = cls.__new__(cls)
        job._factory = job._samples = job._held_out = job._folder = None
        job._take(dict(document))
        return job

    def _take(self, document: object) -> None:
        """Check the rules that all runtimes share. Raises SpecError."""
        try:
            json.dumps(document, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise SpecError(
                [("(document)", f"holds what YAML and JSON have no word for: {error}; give numbers and text")]
            ) from error
        self._checked = parse(document, None)
        assert isinstance(document, dict), "nothing else is taken for a job"
        self._document: dict[str, Any] = copy.deepcopy(document)
        if self._samples is not None:
            self._source()

    @property
    def name(self) -> str:
        """The name in `metadata`. In a store it has eight more digits, see `Run.uid`."""
        return self._checked.metadata.name

    @property
    def checked(self) -> specs.TrainingJob:
        """The job as a model of sapflow.spec, which the rest of Sapflow uses."""
        return self._checked

    @property
    def spec(self) -> Spec:
        """The checked fields with all defaults; samples are named `memory:`."""
        return self._checked.spec

    def __repr__(self) -> str:
        model = self.spec.model.name or self.spec.model.entrypoint
        source = "samples in memory" if self._samples is not None else self.spec.data.source
        return f"<TrainingJob {self.name}: {model} on {source}, {self.spec.workers} workers>"

    def to_yaml(self) -> str:
        """The document for `sapflow run` and `kubectl apply`.

        Samples are read and named by their digest. Such a document can only continue a run in the store that has its
        data. A factory in a script or notebook is named by the module that `sapflow.run` writes. Raises DataError.
        """
        with self.resolved() as (document, _):
            return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)

    @contextmanager
    def resolved(self, spool: Path | None = None) -> Iterator[tuple[dict[str, Any], Source | None]]:
        """The document with its samples named by their digest, and the samples while the context is open.

        `spool` is the folder for a copy of samples that can be read only once. Raises DataError.
        """
        document = copy.deepcopy(self._document)
        source = self._source()
        if source is None:
            yield document, None
            return
        with _of_the_spec(), in_memory.named(source, spool) as found:
            document["spec"]["data"]["source"] = found.name
            if self._held_out is not None:
                document["spec"]["data"]["validation"]["source"] = found.name
            yield document, found

    def _source(self) -> Source | None:
        if self._samples is None:
            return None
        data = self.spec.data
        if data.format is not None:
            raise SpecError([("spec.data.format", "is of files; the samples are in memory: leave it out")])
        held_out = data.validation
        if held_out is not None and self._held_out is None:
            message = (
                "must be samples in memory, too, as those of data.source are: load them, or save the others"
            )
            raise SpecError([("spec.data.validation.source", message)])
        if held_out is not None and held_out.format is not None:
            message = "is of files; the samples are in memory: leave it out"
            raise SpecError([("spec.data.validation.format", message)])
        with _of_the_spec():
            if held_out is None:
                return in_memory.source(self._samples, data.options)
            return in_memory.both(self._samples, data.options, self._held_out, held_out.options or {})

    @property
    def model_source(self) -> Factory | None:
        """The factory whose module must be written before functions can import it; None if there is none."""
        return self._factory if self._factory is not None and self._factory.source is not None else None

    @property
    def folder(self) -> Path | None:
        """The folder of the YAML file that the job was read from."""
        return self._folder

    def for_cluster(self) -> dict[str, Any]:
        """The document, checked that functions in a cluster can find everything that it names. Raises SpecError."""
        problems = []
        if self._samples is not None:
            problems.append(
                (
                    "spec.data.source",
                    "the samples are in the memory of this program, which functions in a cluster cannot see: save them "
                    "(numpy.savez, DataFrame.to_parquet), put the file into the store that the cluster reads, and name "
                    "it: s3://bucket/prefix",
                )
            )
        if self.model_source is not None:
            problems.append(
                (
                    factory.FIELD,
                    "the factory stands in a script or notebook, which functions in a cluster cannot import: put it "
                    "into a module, build an image with it from Sapflow's worker image, and name that: "
                    "spec.model.image",
                )
            )
        if problems:
            raise SpecError(problems)
        return copy.deepcopy(self._document)

    def for_local_run(self, document: object) -> specs.TrainingJob:
        """The document of `resolved`, checked like in a local run. Raises SpecError."""
        return parse(document, "local")


@contextmanager
def _of_the_spec() -> Iterator[None]:
    """A context in which errors about samples name the field `data`."""
    try:
        yield
    except DataError as error:
        if str(error).startswith("spec."):
            raise
        raise DataError(f"spec.data.source: {error}") from error


def _model(given: object) -> tuple[Factory | None, object]:
    """The factory in `model` or None, and the fields of spec.model."""
    if isinstance(given, str):
        return None, {"entrypoint" if ":" in given else "name": given}
    if isinstance(given, Mapping):
        inner = given.get("entrypoint")
        if inner is None or isinstance(inner, str):
            return None, given
        found = factory.of(inner)
        return found, {
            **given,
            "entrypoint": found.entrypoint,
            "args": {**found.args, **given.get("args", {})},
        }
    if callable(given):
        found = factory.of(given)
        return found, {"entrypoint": found.entrypoint, **({"args": dict(found.args)} if found.args else {})}
    return None, given


def _data(given: object) -> tuple[object, object, object]:
    """The samples in `data` or None, those for validation or None, and the fields of spec.data."""
    if isinstance(given, str | Path):
        return None, None, {"source": str(given)}
    if isinstance(given, BaseModel):
        return None, None, given
    if isinstance(given, Mapping) and ("source" in given or not in_memory.is_samples(given)):
        held_out, fields = _apart(given.get("validation"))
        others = given if held_out is None else {**given, "validation": fields}
        inner = given.get("source")
        if inner is None or not in_memory.is_samples(inner):
            if held_out is not None:
                message = "are samples in memory, and data.source is none: save them to a file, or load both"
                raise SpecError([("spec.data.validation.source", message)])
            return None, None, given
        return inner, held_out, {**others, "source": f"{in_memory.SCHEME}:"}
    return given, None, {"source": f"{in_memory.SCHEME}:"}


def _apart(given: object) -> tuple[object, object]:
    """The samples for validation or None, and the fields of spec.data.validation."""
    if not isinstance(given, Mapping):
        return None, given
    inner = given.get("source")
    if inner is None or not in_memory.is_samples(inner):
        return None, given
    return inner, {**given, "source": f"{in_memory.SCHEME}:"}
