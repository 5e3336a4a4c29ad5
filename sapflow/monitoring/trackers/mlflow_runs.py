"""Runs in MLflow: a server or a folder, an experiment, and the runs of it that Sapflow has written, by their tags."""

import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sapflow.monitoring.trackers.tracker import TrackerFailed, library

EXTRA = "mlflow"
DATABASE = "mlflow.db"
UID, PARENT = "sapflow.uid", "mlflow.parentRunId"
_BEGUN = "sapflow.begun"
"""The tag of a run that has its parameters."""
FIGURES = 1000
"""Figures of one request, at most; this and what follows are MLflow's own limits."""
_PARAMETERS, _PAGE = 100, 1000
_KEY, _VALUE = 250, 6000
"""Characters of a parameter's name and of its value, or a tag's."""

Plain = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Run:
    """A run that is there."""

    id: str
    started: int
    """Milliseconds since 1970."""
    tags: Mapping[str, str]


class MlflowRuns:
    """The runs at a place: a tracking server, by its URL, or a folder with a database and the artifacts."""

    def __init__(self, place: str) -> None:
        """Raises TrackerMissing, TrackerFailed."""
        # No one who exports has asked for reports about it.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        mlflow = library("mlflow", EXTRA)
        self._entities = library("mlflow.entities", EXTRA)
        self.uri, self._artifacts = place, None
        folder = None if "://" in place else Path(place).resolve()
        if folder is not None:
            library("sqlalchemy", EXTRA)
            self.uri, self._artifacts = f"sqlite:///{folder / DATABASE}", (folder / "artifacts").as_uri()
        for noisy in ("mlflow", "alembic"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        with self.told():
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
            self._client = mlflow.MlflowClient(tracking_uri=self.uri)

    def experiment(self, name: str) -> str:
        """The id of the experiment that MLFLOW_EXPERIMENT_NAME names, else of the one of this name."""
        settings = library("mlflow.environment_variables", EXTRA)
        name = settings.MLFLOW_EXPERIMENT_NAME.get() or name
        found = self._client.get_experiment_by_name(name)
        if found is None:
            return str(self._client.create_experiment(name, artifact_location=self._artifacts))
        if found.lifecycle_stage != "active":
            raise TrackerFailed(
                f"the experiment {name} has been deleted in MLflow: restore it (mlflow experiments restore), or name "
                "another one by MLFLOW_EXPERIMENT_NAME"
            )
        return str(found.experiment_id)

    def tagged(self, experiment: str, tag: str, value: str) -> dict[str, Run]:
        """The runs of an experiment with this tag, by the uid of their job."""
        found: dict[str, Run] = {}
        token: str | None = None
        while True:
            query = f"tags.`{tag}` = '{value}'"
            page = self._client.search_runs([experiment], query, max_results=_PAGE, page_token=token)
            for each in page:
                tags = dict(each.data.tags)
                found[tags.get(UID, "")] = Run(each.info.run_id, each.info.start_time, tags)
            token = page.token
            if not token:
                return found

    def begin(
        self,
        experiment: str,
        known: Run | None,
        *,
        name: str,
        started: float,
        tags: Mapping[str, str],
        parameters: Mapping[str, Plain],
        spec: Any | None = None,
    ) -> Run:
        """A run with its parameters: a new one, or the one that is known, which may lack them. `started` is in seconds
        since 1970; `spec` is written beside it."""
        if known is not None and _BEGUN in known.tags:
            return known
        if known is None:
            made = self._client.create_run(
                experiment, start_time=milliseconds(started), tags=dict(tags), run_name=name
            )
            known = Run(made.info.run_id, made.info.start_time, tags)
        values = [
            self._entities.Param(path[:_KEY], text_of(value)[:_VALUE]) for path, value in parameters.items()
        ]
        for at in range(0, len(values), _PARAMETERS):
            self._client.log_batch(known.id, params=values[at : at + _PARAMETERS])
        if spec is not None:
            self.text(known, "spec.yaml", yaml.safe_dump(spec, sort_keys=False, allow_unicode=True))
        self.tag(known, {_BEGUN: "true"})
        return known

    def figures(
        self, run: Run, found: Sequence[tuple[str, float, int, int]], tags: Mapping[str, str] | None = None
    ) -> None:
        """Write figures: names, values, milliseconds since 1970 and steps; and tags with the last of them."""
        for at in range(0, len(found), FIGURES):
            some = [self._entities.Metric(*each) for each in found[at : at + FIGURES]]
            last = at + FIGURES >= len(found)
            self._client.log_batch(run.id, metrics=some, tags=self._tags(tags or {}) if last else [])

    def tag(self, run: Run, tags: Mapping[str, str]) -> None:
        self._client.log_batch(run.id, tags=self._tags(tags))

    def text(self, run: Run, file: str, text: str) -> None:
        """Write a text as an artifact."""
        self._client.log_text(run.id, text, file)

    def artifact(self, run: Run, path: Path) -> None:
        self._client.log_artifact(run.id, str(path))

    def end(self, run: Run, status: str, ended: int) -> None:
        """Say what a run has come to; `ended` is in milliseconds since 1970, and counts unless it is RUNNING."""
        if status == "RUNNING":
            self._client.update_run(run.id, status=status)
        else:
            self._client.set_terminated(run.id, status=status, end_time=ended)

    def delete(self, run: Run) -> None:
        self._client.delete_run(run.id)

    def _tags(self, values: Mapping[str, str]) -> list[Any]:
        return [self._entities.RunTag(name, value[:_VALUE]) for name, value in values.items()]

    @contextmanager
    def told(self) -> Iterator[None]:
        """Errors of MLflow and of files as Sapflow's; what MLflow warns of is not the user's affair."""
        refused = library("mlflow.exceptions", EXTRA).MlflowException
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                yield
            except refused as error:
                said = str(error).partition("\n")[0]
                raise TrackerFailed(
                    f"MLflow at {self.uri} has refused: {said}; give a folder, or the URL of a tracking server that "
                    "answers"
                ) from error
            except OSError as error:
                where = error.filename or self.uri
                raise TrackerFailed(f"{where} cannot be written: {error.strerror or error}") from error


def text_of(value: Plain) -> str:
    """A value as MLflow takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def milliseconds(seconds: float) -> int:
    return round(1000 * seconds)
