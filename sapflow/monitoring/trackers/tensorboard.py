"""Jobs and searches as runs of TensorBoard: scalars by version, and trials for its HParams plugin.

A job is a folder of its own name below the place, a trial a folder below its search's.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import yaml

from sapflow.monitoring.trackers import points
from sapflow.monitoring.trackers.event_file import EXTRA, EventFile, Mark
from sapflow.monitoring.trackers.tracked_job import TrackedJob
from sapflow.monitoring.trackers.tracked_search import TrackedSearch
from sapflow.monitoring.trackers.tracker import Tracker, TrackerFailed, Written, library
from sapflow.spec.parameters import ParameterSpec
from sapflow.text import to_json

_STATUS = {"Succeeded": "STATUS_SUCCESS", "Failed": "STATUS_FAILURE", "Stopped": "STATUS_SUCCESS"}


class TensorBoardTracker(Tracker):
    """A folder for `tensorboard --logdir`."""

    extra: ClassVar[str] = EXTRA

    def __init__(self, place: str) -> None:
        super().__init__(place)
        if "://" in place:
            raise TrackerFailed(f"TensorBoard reads a folder, and {place} is a URL: give a folder's path")
        self._plugin = library("tensorboard.plugins.hparams.summary_v2", EXTRA)
        self._api = library("tensorboard.plugins.hparams.api_pb2", EXTRA)
        self._data = library("tensorboard.plugins.hparams.plugin_data_pb2", EXTRA)
        self._metadata = library("tensorboard.plugins.hparams.metadata", EXTRA)
        self._text = library("tensorboard.plugins.text.summary_v2", EXTRA)

    @property
    def opened_by(self) -> list[str]:
        return ["tensorboard", "--logdir", self.place]

    async def write_job(self, job: TrackedJob) -> Written:
        with self._told():
            return Written(await self._write(Path(self.place) / job.uid, job, job.uid), None)

    async def write_search(self, search: TrackedSearch) -> Written:
        versions, folder = 0, Path(self.place) / search.uid
        with self._told():
            for trial in search.trials:
                job = await search.trial(trial.number)
                path = folder / f"trial-{trial.number:05d}"
                versions += await self._write(path, job, job.uid)
            self._write_experiment(folder, search)
        return Written(versions, len(search.trials))

    async def _write(self, folder: Path, job: TrackedJob, group: str) -> int:
        """Write what a run lacks; how many versions that were."""
        with EventFile(folder) as file:
            mark = file.mark()
            if mark is not None and not await self._goes_on(mark, job):
                mark = None
            if mark is not None and (mark.version, mark.state) == (job.version, job.state):
                return 0
            started = job.start if mark is None else mark.started
            file.open(mark)
            if mark is None:
                self._begin(file, job, group, started)
            count = 0
            async for each in job.points(-1 if mark is None else mark.version):
                file.scalars(started + each.seconds, each.version, each.values)
                count += 1
            if job.ended:
                self._end(file, job, started + job.seconds)
            digest = "" if job.last is None else job.last.digest
            file.close(Mark(job.uid, job.version, digest, job.state, started))
            return count

    @staticmethod
    async def _goes_on(mark: Mark, job: TrackedJob) -> bool:
        """Whether what is written is a beginning of the job; of one that had ended, it must be all."""
        if mark.uid != job.uid:
            return False
        if mark.version < 0:
            return mark.state == job.state and job.last is None
        if mark.state != "Unfinished" and (mark.version, mark.state) != (job.version, job.state):
            return False
        return await job.digest(mark.version) == mark.commit

    def _begin(self, file: EventFile, job: TrackedJob, group: str, time: float) -> None:
        file.begin(time)
        parameters = dict(job.parameters)
        file.summary(time, 0, self._plugin.hparams_pb(parameters, trial_id=group, start_time_secs=time))
        for name, document in job.documents.items():
            if name == "spec":
                file.summary(time, 0, self._text.text_pb(name, _code(yaml.safe_dump(document), "yaml")))

    def _end(self, file: EventFile, job: TrackedJob, time: float) -> None:
        texts = {name: _code(to_json(value, indent=1), "json") for name, value in job.documents.items()}
        texts.pop("spec", None)
        texts |= {name: value for name, value in (("reason", job.reason), *job.notes.items()) if value}
        for name, text in texts.items():
            file.summary(time, job.version, self._text.text_pb(name, text))
        status = self._api.Status.Value(_STATUS[job.state])
        ended = self._data.SessionEndInfo(status=status, end_time_secs=time)
        file.summary(
            time,
            0,
            self._of_hparams(
                self._metadata.SESSION_END_INFO_TAG, self._data.HParamsPluginData(session_end_info=ended)
            ),
        )

    def _of_hparams(self, tag: str, content: Any) -> Any:
        summaries = library("tensorboard.compat.proto.summary_pb2", EXTRA)
        value = summaries.Summary.Value(
            tag=tag,
            metadata=self._metadata.create_summary_metadata(content),
            tensor=self._metadata.NULL_TENSOR,
        )
        return summaries.Summary(value=[value])

    def _write_experiment(self, folder: Path, search: TrackedSearch) -> None:
        """Write what the trials have in common: their parameters and objectives; and the objective by trial."""
        started = search.started
        with EventFile(folder) as file:
            file.open(None)
            file.begin(started)
            metrics = [points.objective_name(each.metric) for each in search.objectives]
            infos = self._plugin.hparams_config_pb(
                hparams=[self._parameter(each) for each in search.job.spec.parameters],
                metrics=[self._plugin.Metric(name, display_name=name) for name in metrics],
                time_created_secs=started,
            )
            file.summary(started, 0, infos)
            spec = yaml.safe_dump(search.documents["spec"])
            file.summary(started, 0, self._text.text_pb("spec", _code(spec, "yaml")))
            if "outcome" in search.documents:
                outcome = to_json(search.documents["outcome"], indent=1)
                file.summary(started, 0, self._text.text_pb("outcome", _code(outcome, "json")))
            self._write_objectives(file, search)
            state = "Unfinished" if search.state.over is None else search.state.over.reason
            file.close(Mark(search.uid, len(search.trials), "", state, started))

    @staticmethod
    def _write_objectives(file: EventFile, search: TrackedSearch) -> None:
        """Write the first objective of each trial that has one, and the best until then, by the trial's number."""
        first, best, time = search.objectives[0], -math.inf, search.started
        for trial in search.trials:
            if not trial.values:
                continue
            value = trial.values[0]
            best = max(best, first.score(value))
            values = {"search/objective": value}
            if math.isfinite(best):
                values["search/best"] = best if first.maximize else -best
            file.scalars(time + trial.number, trial.number, values)

    def _parameter(self, parameter: ParameterSpec) -> Any:
        name, domain = points.short_path(parameter.path), None
        if parameter.categorical is not None:
            choices = [points.plain(each) for each in parameter.categorical.choices]
            # A domain has values of one type.
            if len({type(each) for each in choices}) == 1:
                domain = self._plugin.Discrete(choices)
        elif parameter.int_ is not None:
            domain = self._plugin.IntInterval(parameter.int_.min, parameter.int_.max)
        elif parameter.float_ is not None:
            domain = self._plugin.RealInterval(float(parameter.float_.min), float(parameter.float_.max))
        return self._plugin.HParam(name, domain)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TrackerFailed(
                f"{error.filename or self.place} cannot be written: {error.strerror}; give another folder"
            ) from error


def _code(text: str, language: str) -> str:
    return f"```{language}\n{text}\n```"
