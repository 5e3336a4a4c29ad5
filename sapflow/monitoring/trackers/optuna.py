"""Jobs and searches as studies of Optuna, with all trials, their states and their intermediate values.

The study is found again by its name, the uid. A trial that had ended there is not written again; one that was at work
is brought up to date. Where one that had ended has changed since, because the search was begun again or goes on with
it, the study is written anew.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

from sapflow.monitoring.trackers import points
from sapflow.monitoring.trackers.tracked_job import TrackedJob, copy_object
from sapflow.monitoring.trackers.tracked_search import TrackedSearch
from sapflow.monitoring.trackers.tracker import Tracker, TrackerFailed, Written, library
from sapflow.objects.stores.protocol import Store
from sapflow.text import to_json
from sapflow.tuning.space import Space
from sapflow.tuning.trial import Trial

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

EXTRA = "optuna"
DATABASE, ARTIFACTS = "optuna.db", "artifacts"
_LOSS = "loss"


class OptunaTracker(Tracker):
    """A folder with a database and the models, or the URL of a database."""

    extra: ClassVar[str] = EXTRA

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self._optuna = library("optuna", EXTRA)
        library("sqlalchemy", EXTRA)
        self._folder = None if "://" in place else Path(place)
        self._url = place
        if self._folder is not None:
            with self._told():
                self._folder.mkdir(parents=True, exist_ok=True)
            self._url = f"sqlite:///{self._folder.resolve() / DATABASE}"
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        with self._told():
            self._storage = self._optuna.storages.RDBStorage(self._url)

    @property
    def opened_by(self) -> list[str]:
        if self._folder is None:
            return ["optuna-dashboard", self._url]
        database = f"sqlite:///{Path(self.place) / DATABASE}"
        return ["optuna-dashboard", database, "--artifact-dir", str(Path(self.place) / ARTIFACTS)]

    async def write_job(self, job: TrackedJob) -> Written:
        trial = await self._of_job(job)
        attributes = {"uid": job.uid, "spec": to_json(job.documents.get("spec"))}
        with self._told():
            new = self._write(job.uid, ["minimize"], [_LOSS], [trial], attributes)
            if job.model is not None:
                version = job.documents["outcome"]["version"]
                self._add_model(job.uid, f"version-{version}.safetensors", job.records.store, job.model)
        return Written(new, None)

    async def write_search(self, search: TrackedSearch) -> Written:
        space, versions = Space(search.job.spec.parameters), 0
        trials = []
        for trial in search.trials:
            found, count = await self._of_trial(search, trial, space)
            trials.append(found)
            versions += count
        directions = ["maximize" if each.maximize else "minimize" for each in search.objectives]
        attributes = {"uid": search.uid, "spec": to_json(search.documents["spec"])}
        if search.state.over is not None:
            attributes["endedBy"] = search.state.over.reason
        with self._told():
            new = self._write(
                search.uid, directions, [each.metric for each in search.objectives], trials, attributes
            )
            if search.model is not None:
                best = search.documents["outcome"]
                file = f"trial-{best['trial']}-version-{best['version']}.safetensors"
                self._add_model(search.uid, file, search.store, search.model)
        return Written(versions if new else 0, len(trials))

    async def _of_job(self, job: TrackedJob) -> "FrozenTrial":
        """A job as the only trial of a study: its values are losses, on held-out samples where there are any."""
        states = self._optuna.trial.TrialState
        values: dict[int, float] = {}
        training: dict[int, float] = {}
        metrics: Mapping[str, float] = {}
        chosen = job.documents.get("outcome", {}).get("version", job.version)
        async for each in job.points():
            head = f"{points.VALIDATION}/"
            held_out = {
                name.removeprefix(head): value for name, value in each.values.items() if name.startswith(head)
            }
            if _LOSS in held_out:
                values[each.version] = held_out[_LOSS]
                metrics = held_out if each.version <= chosen else metrics
            if each.version in (chosen, job.version):
                training[each.version] = each.values.get(f"{points.TRAINING}/{_LOSS}", math.nan)
        value = values.get(chosen, training.get(chosen, math.nan))
        state = {"Succeeded": states.COMPLETE, "Failed": states.FAIL}.get(job.state, states.RUNNING)
        attributes = {**job.parameters, **job.notes, **{f"validation {k}": v for k, v in metrics.items()}}
        if job.reason:
            attributes["reason"] = job.reason
        return self._frozen(
            0, state, [value], (job.start, job.seconds), {}, {}, _attributes(job, attributes), values
        )

    async def _of_trial(self, search: TrackedSearch, trial: Trial, space: Space) -> "tuple[FrozenTrial, int]":
        """A trial of a search, and how many versions it has."""
        states = self._optuna.trial.TrialState
        job = await search.trial(trial.number)
        metric = search.objectives[0].metric
        values, metrics = dict[int, float](), dict[str, float]()
        async for version, found in job.evaluations():
            if metric in found:
                values[version] = found[metric]
            if version == trial.version:
                metrics = dict(found)
        match trial.phase:
            case "Finished":
                state = states.COMPLETE
            case "Failed":
                state = states.FAIL
            case "Stopped":
                state = states.PRUNED
            case "Paused" if search.over:
                # It has been left behind; nothing goes on with it unless a limit is raised.
                state = states.PRUNED
            case _:
                state = states.RUNNING
        attributes: dict[str, Any] = {**job.notes, **{f"validation {k}": v for k, v in metrics.items()}}
        # What it has reported counts evaluations that its last commit does not know.
        attributes |= {"costUSD": trial.dollars, "seconds": trial.seconds}
        if trial.reason:
            attributes["reason"] = trial.reason
        frozen = self._frozen(
            trial.number,
            state,
            list(trial.values),
            (job.start, trial.seconds),
            space.encoded(trial.parameters),
            space.distributions(trial.parameters),
            _attributes(job, attributes),
            values,
        )
        return frozen, max(job.version, 0)

    def _frozen(
        self,
        number: int,
        state: Any,
        values: Sequence[float],
        times: tuple[float, float],
        parameters: Mapping[str, Any],
        distributions: Mapping[str, Any],
        attributes: Mapping[str, Any],
        intermediate: Mapping[int, float],
    ) -> "FrozenTrial":
        """A trial as Optuna takes it: one whose values are not finite counts as failed, as Optuna has it."""
        states = self._optuna.trial.TrialState
        if state == states.COMPLETE and not all(map(math.isfinite, values)):
            state, attributes = states.FAIL, {**attributes, "reason": "its objective is not finite"}
        known = state in (states.COMPLETE, states.PRUNED) and values and all(map(math.isfinite, values))
        started, seconds = times
        frozen: FrozenTrial = self._optuna.trial.FrozenTrial(
            number=number,
            trial_id=-1,
            state=state,
            value=None,
            values=list(values) if known else None,
            datetime_start=_time(started),
            datetime_complete=_time(started + seconds) if state.is_finished() else None,
            params={points.short_path(path): value for path, value in parameters.items()},
            distributions={points.short_path(path): value for path, value in distributions.items()},
            user_attrs=dict(attributes),
            system_attrs={},
            intermediate_values=dict(intermediate),
        )
        return frozen

    def _write(
        self,
        name: str,
        directions: Sequence[str],
        metrics: Sequence[str],
        trials: "Sequence[FrozenTrial]",
        attributes: Mapping[str, str],
    ) -> int:
        """Bring a study up to date; how many trials were new or have changed."""
        study = self._optuna.create_study(
            storage=self._storage, study_name=name, directions=directions, load_if_exists=True
        )
        before = study.get_trials(deepcopy=False)
        if not _goes_on(before, trials):
            self._optuna.delete_study(study_name=name, storage=self._storage)
            study = self._optuna.create_study(storage=self._storage, study_name=name, directions=directions)
            before = []
        if not before:
            self._storage.set_study_system_attr(study._study_id, "study:metric_names", list(metrics))
        for key, value in attributes.items():
            if study.user_attrs.get(key) != value:
                study.set_user_attr(key, value)
        changed = 0
        for old, new in zip(before, trials, strict=False):
            if not old.state.is_finished():
                changed += self._update(old, new)
        for new in trials[len(before) :]:
            study.add_trial(new)
        return changed + len(trials) - len(before)

    def _update(self, old: "FrozenTrial", new: "FrozenTrial") -> bool:
        """Bring a trial that was at work up to date; whether anything was new."""
        storage, changed = self._storage, False
        for step, value in new.intermediate_values.items():
            if step not in old.intermediate_values:
                storage.set_trial_intermediate_value(old._trial_id, step, value)
                changed = True
        for key, value in new.user_attrs.items():
            if old.user_attrs.get(key) != value:
                storage.set_trial_user_attr(old._trial_id, key, value)
                changed = True
        if new.state.is_finished():
            storage.set_trial_state_values(old._trial_id, new.state, new.values)
            changed = True
        return changed

    def _add_model(self, name: str, file: str, store: Store, key: str) -> None:
        """Put a model beside the database as an artifact of the study, unless one of this name is there. Optuna refuses
        artifacts of trials that have ended."""
        if self._folder is None:
            return
        artifacts = library("optuna.artifacts", EXTRA)
        study = self._optuna.load_study(study_name=name, storage=self._storage)
        known = artifacts.get_all_artifact_meta(study)
        if any(each.filename == file for each in known):
            return
        place = self._folder / ARTIFACTS
        place.mkdir(exist_ok=True)
        with TemporaryDirectory(prefix="sapflow-") as folder:
            path = copy_object(store, key, Path(folder) / file)
            artifacts.upload_artifact(
                artifact_store=artifacts.FileSystemArtifactStore(str(place)),
                file_path=str(path),
                study_or_trial=study,
                mimetype="application/octet-stream",
            )

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of Optuna, its database and files as Sapflow's."""
        database = library("sqlalchemy.exc", EXTRA)
        try:
            yield
        except (self._optuna.exceptions.OptunaError, database.SQLAlchemyError, ImportError) as error:
            said = str(error).partition("\n")[0]
            raise TrackerFailed(
                f"the database {self._url} cannot be used: {said}; give a folder, or the URL of a database that "
                "SQLAlchemy can reach"
            ) from error
        except OSError as error:
            where = error.filename or self.place
            raise TrackerFailed(f"{where} cannot be written: {error.strerror or error}") from error


def _goes_on(before: "Sequence[FrozenTrial]", trials: "Sequence[FrozenTrial]") -> bool:
    """Whether the trials that are there are a beginning of these, as far as they had ended."""
    if len(before) > len(trials):
        return False
    for old, new in zip(before, trials, strict=False):
        if old.params != new.params:
            return False
        if old.state.is_finished() and (old.state, old.values) != (new.state, new.values):
            return False
    return True


def _attributes(job: TrackedJob, found: Mapping[str, Any]) -> dict[str, Any]:
    """What is shown beside a trial; numbers that are not finite as text, which JSON has no word for."""
    cost = 0.0 if job.last is None else job.last.account.cost_usd
    values = {"uid": job.uid, "costUSD": cost, "seconds": job.seconds, **found}
    return {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }


def _time(seconds: float) -> datetime:
    """A time as Optuna has it: the machine's own, without a zone."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().replace(tzinfo=None)
