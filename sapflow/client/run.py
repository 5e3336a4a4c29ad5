"""`sapflow.run`: the command `sapflow run` for scripts and notebooks."""

import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sapflow.client import fork, importable, inputs, local_run, predict, report, session, versions
from sapflow.client.background import Background, Cancelled, run_apart
from sapflow.client.predict import Predictor
from sapflow.client.session import Session
from sapflow.client.training_job import TrainingJob
from sapflow.client.values import Progress, Result
from sapflow.data.chunks import Source
from sapflow.errors import DataError, JobStopped, ObjectMissing, SapflowError
from sapflow.monitoring.display import Display, Displays, Event
from sapflow.monitoring.displays import open_display
from sapflow.monitoring.report import gather, render
from sapflow.objects import keys
from sapflow.text import count

if TYPE_CHECKING:
    from torch import nn

    from sapflow.client.tracking import Tracked
    from sapflow.monitoring.trackers.registry import Name

_KEPT = 100_000
"""The most progress values that are kept for iterators that start late."""

State = Literal["Running", "Succeeded", "Failed", "Stopped"]


def run(
    job: TrainingJob,
    *,
    store: str | Path | None = None,
    max_instances: int | None = None,
    again: bool = False,
    progress: bool | None = None,
) -> "Run":
    """Train a job on this machine, in the background; its functions are local processes.

    The same job in the same store continues where it was interrupted, and ends with the same weights, bit for bit. A
    finished job is not trained again. With `again` the job is trained from the beginning: what it has in the store is
    removed first.

    `store` is the place of the job's state: a directory, or s3://bucket/prefix?endpoint=URL with credentials in the
    environment. By default it is spec.storage, or else `.sapflow` in the current folder. At most `max_instances`
    invocations are at work at once, by default one per core. A progress bar is shown on standard error if that is a
    terminal, or below a notebook's cell. With `progress=False` it is not shown; with `progress=True` plain lines are
    written if there is neither a terminal nor a notebook.

    Samples in memory are read before this returns. If the program ends before the run, the run is stopped, so `wait()`
    for it. Raises SpecError, DataError, StoreError.
    """
    if not isinstance(job, TrainingJob):
        raise TypeError(
            f"sapflow.run takes a sapflow.TrainingJob, not a {type(job).__name__}: TrainingJob.from_yaml reads a file"
        )
    asked = None if store is None else str(store)
    with ExitStack() as stack:
        document, source = stack.enter_context(job.resolved(spool_of(job, asked)))
        checked = job.for_local_run(document)
        url = session.store_url(checked, asked)
        environ = environment_of(job, importable.modules_folder(url))
        opened = stack.enter_context(session.open_session(checked, environ, store=url))
        outcome = opened.outcome()
        if again:
            opened.forget()
            outcome = None
        elif outcome is not None:
            inputs.check(opened, environ)
        shown = Display() if outcome is not None else stack.enter_context(display_of(opened, progress))
        return Run(opened, environ, source, shown, stack.pop_all(), max_instances, outcome)


class Run:
    """A local run of a job in the background.

    Iterating over it yields a Progress after each step and each evaluation, until the end. As a context manager it
    stops the run if the block is left by an exception. Ctrl-C in `wait` or in a loop over it stops the run in an
    orderly way, like `sapflow run`: everything committed stays, and to run the same job again continues from there.
    """

    def __init__(
        self,
        opened: Session,
        environ: Mapping[str, str],
        source: Source | None,
        shown: Display,
        resources: AbstractContextManager[Any],
        max_instances: int | None,
        outcome: dict[str, Any] | None,
    ) -> None:
        """Only `run` uses this. `resources` are closed at the end; `outcome` is that of a job that has finished."""
        self._opened, self._environ, self._source = opened, environ, source
        self._shown, self._resources, self._max_instances = shown, resources, max_instances
        self._feed = _Feed()
        self._predictor: Predictor | None = None
        self._background = Background[dict[str, Any]](
            self.uid, self._finished(outcome) if outcome is not None else self._train
        )

    @property
    def uid(self) -> str:
        """The job's name in its store: its own name, and eight digits of a digest of its spec."""
        return self._opened.uid

    @property
    def store(self) -> str:
        """The store's URL."""
        return self._opened.url

    @property
    def state(self) -> State:
        """Running, Succeeded, Failed or Stopped."""
        if not self._background.over:
            return "Running"
        error = self._background.error
        if error is None:
            return "Succeeded"
        return "Stopped" if isinstance(error, JobStopped) else "Failed"

    @property
    def progress(self) -> Progress | None:
        """The newest progress; None before the first step."""
        return self._feed.newest

    def __repr__(self) -> str:
        known = self.progress
        far = "" if known is None else f", {known.unit} {known.step} of {known.steps}"
        return f"<Run {self.uid}: {self.state}{far}>"

    def __iter__(self) -> Iterator[Progress]:
        """Yields progress. Raises what `wait` raises if the job does not succeed."""
        seen = 0
        with _on_interrupt(self._background.stop):
            while True:
                try:
                    seen, found = self._feed.after(seen)
                except KeyboardInterrupt:
                    self._interrupted()
                    raise
                if found is None:
                    break
                yield found
        self.wait()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if kind is not None:
            self.stop()

    def wait(self, timeout: float | None = None) -> Result:
        """Wait for the result and return it.

        Raises JobFailed, SpecError or DataError if model and data do not fit, StoreError, JobStopped after `stop`, and
        TimeoutError after `timeout` seconds, in which case the run continues.
        """
        try:
            if not self._background.wait(timeout):
                raise TimeoutError(f"{self.uid} has not finished within {timeout:g} s; it goes on")
        except KeyboardInterrupt:
            self._interrupted()
            raise
        return Result.of(self.uid, self._background.result())

    @property
    def result(self) -> Result:
        """The result, for which this waits like `wait()`."""
        return self.wait()

    def stop(self) -> None:
        """Stop the run in an orderly way, if it has not ended. To run the job again continues from the last commit."""
        self._background.stop()
        self._background.wait()

    def export(self, path: str | Path | None = None, *, version: int | None = None) -> Path:
        """Write the model into a safetensors file, and return its path: the result, or what a stopped, failed or
        running job has come to; with `version` that one, if it is kept (spec.checkpoint).

        The default path is UID@VERSION.safetensors in the current folder. Raises DataError if there is no such version.
        """
        with self._reopened() as opened:
            return versions.export(opened, None if path is None else Path(path), version).path

    def export_to(self, to: "Name", place: str | Path, *, version: int | None = None) -> "Tracked":
        """Write the job, also while it is at work, for an experiment tracker, as `sapflow.export_to` explains."""
        from sapflow.client import tracking

        with self._reopened() as opened:
            return run_apart(tracking.write(opened, to, place, version))

    def fork(
        self,
        version: int | None = None,
        changes: Mapping[str, object] | None = None,
        *,
        name: str | None = None,
    ) -> TrainingJob:
        """A job that begins at a version of this one, to be run in the same store: by default at its result, or else
        at its last version.

        `changes` are values by field, as `{"spec.optimizer.learningRate": 0.01}`; None takes a field out. What was
        not changed keeps its bits. `name` is the job's, by default NAME-vVERSION. Samples in memory are those of this
        run. Raises SpecError for a version that is not kept, and for what a fork may not change; DataError if there is
        no version yet.
        """
        with self._reopened() as opened:
            document = fork.document(opened, version, changes or {}, name=name)
        return TrainingJob.from_document(document)

    def predictor(self, *, version: int | None = None) -> Predictor:
        """The trained model with the scaling of its features, for which this waits like `wait()`. Loads torch.

        With `version` it is the model of that version, and this does not wait.
        """
        if version is not None:
            with self._reopened() as opened:
                found, parts = versions.read(opened, version)
                preparation = versions.preparation(opened)
            named = self._opened.job.spec.model.entrypoint
            name = f"version {found} of {self.uid}"
            return predict.decode(
                memoryview(b"".join(parts)), name, () if named is None else (named,), preparation
            )
        self.wait()
        if self._predictor is None:
            with self._reopened() as opened:
                key = keys.result(opened.prefix, "model.safetensors")
                try:
                    content = bytes(opened.store.read(key))
                    preparation = versions.preparation(opened)
                except ObjectMissing as error:
                    raise DataError(
                        f"the result of {self.uid} is not in its store any more; run the job with again=True"
                    ) from error
            named = self._opened.job.spec.model.entrypoint
            consent = () if named is None else (named,)
            self._predictor = predict.decode(memoryview(content), key, consent, preparation)
        return self._predictor

    def model(self) -> "nn.Module":
        """The trained network as a torch module in evaluation mode, for which this waits like `wait()`.

        It takes scaled features, as in training; `predict` takes features with the values of the data source.
        """
        network: nn.Module = self.predictor().network
        return network

    def predict(self, features: object) -> np.ndarray:
        """Class numbers int64 [n], or the words for them if the data had words, or for regression values float32
        [n, k]. Waits for the model like `wait()`.

        `features` have the values of the data source, [n, *inputs] or [n, values]. Of a pandas DataFrame or an Arrow
        table the columns are taken by name. If the job prepares raw data, they are raw rows in a table or in files, as
        `Predictor.predict` explains. Raises DataError.
        """
        return self.predictor().predict(features)

    def report(
        self, path: str | Path | None = None, *, prediction: bool = True, version: int | None = None
    ) -> str:
        """The report about the job so far, or as it was at `version`: HTML that needs no network.

        It is also written to `path` if that is given. With `prediction` it includes the planner's prediction, for which
        the model is built. Raises DataError if nothing is committed yet or `path` cannot be written.
        """
        with self._reopened() as opened:
            facts = run_apart(gather(opened.uid, opened.job, opened.store, version))
            if prediction:
                facts = report.with_prediction(facts, opened, self._environ, opened.job.spec.model.code)
            else:
                facts = replace(facts, not_predicted="it was left out")
        page = render(facts)
        if path is not None:
            report.write(Path(path), page)
        return page

    def _reopened(self) -> Session:
        return session.open_session(
            self._opened.job, self._environ, store=self.store, uid=self.uid, probe=False
        )

    def _interrupted(self) -> None:
        self.stop()
        if self.state == "Stopped":
            print(f"\n{self._background.error}", file=sys.stderr)

    def _finished(self, outcome: dict[str, Any]) -> Callable[[Background[dict[str, Any]]], dict[str, Any]]:
        def work(background: Background[dict[str, Any]]) -> dict[str, Any]:
            with self._resources:
                self._feed.end()
                return outcome

        return work

    def _train(self, background: Background[dict[str, Any]]) -> dict[str, Any]:
        """The work in the background, from data to result."""
        self._feed.check = background.check
        display = Displays(self._feed, self._shown)
        try:
            with self._resources:
                ready = local_run.prepare(
                    self._opened,
                    display,
                    self._environ,
                    self._source,
                    run=background.run,
                    max_instances=self._max_instances,
                )
                self._source = None
                background.check()
                return background.run(
                    session.train(
                        self._opened,
                        ready.manifest,
                        self._environ,
                        max_instances=self._max_instances,
                        observer=display,
                        on_runtime=display.watch,
                        forward_flops=ready.forward_flops,
                        account=ready.account,
                    )
                )
        except Cancelled:
            raise JobStopped(self._stopped()) from None
        except SapflowError:
            # If Ctrl-C has also ended another process of ours, that is no failure of the job.
            if background.stopped:
                raise JobStopped(self._stopped()) from None
            raise
        finally:
            self._feed.end()

    def _stopped(self) -> str:
        known = self.progress
        where = "" if known is None else f" after {known.unit} {known.step:,} of {known.steps:,}"
        again = "The same job, run again, goes on from there; its export() gives the model as it stands"
        return f"{self.uid} was stopped{where}; nothing of it runs any more. {again}"


class _Feed(Display):
    """Keeps all progress for iterators, each of which starts at the beginning."""

    def __init__(self) -> None:
        super().__init__()
        self.check: Callable[[], None] = lambda: None
        self.newest: Progress | None = None
        self._evaluated = -1
        self._changed = threading.Condition()
        self._kept: deque[Progress] = deque(maxlen=_KEPT)
        self._count = 0
        self._over = False

    def emit(self, event: Event) -> None:
        match event["event"]:
            case "stage":
                self.check()
            case "data" if "samples" in event:  # a preparation is cancelled, in the middle of its calls
                self.check()
            case "progress" | "resumed" if "done" in event:
                found = Progress.of(event)
                if self.newest is not None:
                    found = _evaluated_as(self.newest, found)
                self.newest = found
                if event["event"] == "progress" and found.step:
                    self._put(found)
            case "evaluated" if self.newest is not None and event["version"] > self._evaluated:
                # Evaluations run beside the steps, and may end in another order.
                self._evaluated = event["version"]
                known = self.newest
                self.newest = _evaluated_as(Progress.of({"done": 0, "total": 0, **event}), known)
                self._put(self.newest)

    def _put(self, found: Progress) -> None:
        with self._changed:
            self._kept.append(found)
            self._count += 1
            self._changed.notify_all()

    def end(self) -> None:
        """End the progress."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def after(self, seen: int) -> tuple[int, Progress | None]:
        """Wait for the first progress after number `seen`. Returns it with its number, or None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or self._count > seen)
            if self._count == seen:
                return seen, None
            place = max(seen - (self._count - len(self._kept)), 0)
            return self._count - len(self._kept) + place + 1, self._kept[place]


def _evaluated_as(other: Progress, known: Progress) -> Progress:
    """What is known, with the evaluation of the other."""
    return replace(
        known,
        validation_loss=other.validation_loss,
        validation_accuracy=other.validation_accuracy,
        validation_metrics=other.validation_metrics,
    )


@contextmanager
def _on_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """Have Ctrl-C stop a run before it does what it did before, wherever it strikes: in the body of a loop, too."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        stop()
        before(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        # A loop that was left may be cleaned up late, elsewhere, or after others have set theirs.
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is interrupt
        ):
            signal.signal(signal.SIGINT, before)


def environment_of(job: TrainingJob, written: Path) -> Mapping[str, str]:
    """The environment in which functions can import what this program imports, and a factory's module in `written`."""
    if (factory := job.model_source) is not None:
        factory.write(written)
    beside = [] if job.folder is None else [job.folder, Path.cwd()]
    return importable.of_program(job.spec.model, written, *beside)


def spool_of(job: TrainingJob, store: str | None) -> Path:
    """The folder for a copy of samples that can be read only once, in the store that the blocks are written to."""
    url = session.store_url(job.checked, store)
    return importable.modules_folder(url).parent


def display_of(opened: Session, progress: bool | None) -> Display:
    """The display of the run: below a notebook's cell, or else as `run` explains for `progress`."""
    title = f"{opened.uid}: {count(opened.job.spec.workers, 'worker')}, store {opened.url}"
    platform = opened.job.price.platform
    if progress is False:
        return Display()
    from sapflow.monitoring import notebook  # rich, which lines do without

    if (show := notebook.notebook()) is not None:
        return notebook.NotebookDisplay(show, title, platform)
    live = sys.stderr.isatty()
    if not live and not progress:
        return Display()
    if not live:
        return open_display(
            sys.stderr, live=False, as_json=False, quiet=False, title=title, platform=platform
        )
    from sapflow.monitoring.live import LiveDisplay

    return LiveDisplay(sys.stderr, title, platform, redirect_stdout=sys.stdout.isatty())
