"""The state of a search: what the entries of its log say, one after the other. Nothing else changes it.

What has *arrived* makes accounts and progress. What is *known* makes decisions. With `order: Asynchronous` both are the
same. With `order: InOrder` the answer to decision d becomes known before decision d + parallelTrials, whenever it has
arrived, and the entry `Known` says how many are; so decisions follow from each other and from the trials' results
alone."""

from collections import Counter, deque

from sapflow.tuning.actions import Deleted, Failed, Finished, Fork, Report, Stop, Stopped
from sapflow.tuning.entries import Asked, Begin, Common, End, Entry, Granted, Known, Sized, Train
from sapflow.tuning.pool_sizes import PoolSizes
from sapflow.tuning.pruners.pruner import Pruner
from sapflow.tuning.pruners.registry import pruner_of
from sapflow.tuning.settings import Limits, Settings
from sapflow.tuning.trial import Origin, Trial

Answer = Report | Finished | Failed | Stopped


class State:
    """The fold of a log."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.limits = Limits(1, 0, 0)
        self.trials: list[Trial] = []
        self.pruner: Pruner = pruner_of(settings)
        self.sampled = 0
        """Trials that are no forks: those that maxTrials counts."""
        self.asked: int | None = None
        """The trial whose parameters are being suggested."""
        self.running = 0
        self.stopping = 0
        self.dollars = 0.0
        """What all trials have used, as they have reported."""
        self.common = 0.0
        """Dollars of calls that are no trial's."""
        self.units = 0
        """Units that all trials have done, as they have reported."""
        self.decided = 0
        """Decisions to train, which are numbered from 0."""
        self.known = 0
        """InOrder: the answers to so many decisions are known."""
        self.failed = 0
        """Failed trials that are known."""
        self.best: Trial | None = None
        """The best trial that is known, by the first objective."""
        self.reached: Trial | None = None
        """The first trial that is known to have the goal."""
        self.deleted: deque[int] = deque()
        """Trials that a user has deleted and that have not been stopped yet."""
        self.sizes: PoolSizes | None = None
        """How far the search for the workers' memory size is; None: it has judged none, or there is no such search."""
        self.granted = 0.0
        self.over: End | None = None
        self.references: Counter[tuple[int, int]] = Counter()
        """By (trial, version): the live forks that began there."""
        self._arrived: dict[int, tuple[Trial, Answer]] = {}
        self._news: list[tuple[Trial, Answer]] = []
        self._best_score = float("-inf")

    @property
    def used(self) -> float:
        """Dollars of all calls, those of trials as these have reported."""
        return self.dollars + self.common

    @property
    def unsettled(self) -> int:
        """Decisions whose answers are not known."""
        return self.running if not self.settings.in_order else self.decided - self.known

    def has_arrived(self, decision: int) -> bool:
        """InOrder: whether the answer to a decision is there, known or not."""
        return decision < self.known or decision in self._arrived

    def kept(self, number: int) -> set[int]:
        """The versions of a trial that must not be removed: its last one, and where forks begin or have begun. None of
        a trial that has reported nothing."""
        trial = self.trials[number]
        found = self.pruner.kept(number) | {
            version for source, version in self.references if source == number
        }
        gone = trial.at == 0 or trial.phase in ("Stopping", "Stopped", "Failed")
        return found if gone else found | {trial.version}

    def take_news(self) -> list[tuple[Trial, Answer]]:
        """What has become known since the last call."""
        news, self._news = self._news, []
        return news

    def expects(self, event: Report | Finished | Failed | Stopped | Deleted) -> bool:
        """Whether an event is one that is still to come; a runner that was restarted may tell one twice."""
        if event.trial >= len(self.trials):
            return isinstance(event, Failed) and event.trial == self.asked
        trial = self.trials[event.trial]
        match event:
            case Stopped():
                return trial.phase == "Stopping"
            case Deleted():
                return not trial.ended and trial.phase != "Stopping" and event.trial not in self.deleted
            case Report():
                return trial.phase == "Running" and event.at == trial.to
            case _:
                return trial.phase == "Running"

    def apply(self, entry: Entry) -> None:
        """Change the state by the next entry of the log."""
        match entry:
            case Limits():
                self._raise(entry)
            case Asked(number):
                self.asked = number
            case Begin(number, parameters, _):
                self.asked = None
                self.sampled += 1
                self._add(Trial(number, parameters))
            case Fork(number, source, version, at, parameters):
                self._add(Trial(number, parameters, Origin(source, version, at), at=at, version=version))
                self.references[source, version] += 1
            case Train(number, to):
                self._train(self.trials[number], to)
            case Stop(number, reason):
                self._stop(self.trials[number], reason)
            case Deleted(number):
                self.deleted.append(number)
            case Known(count):
                for decision in range(self.known, count):
                    self._learn(*self._arrived.pop(decision))
                self.known = count
            case End():
                self.over = entry
            case Granted(dollars):
                self.granted = dollars
            case Common(dollars):
                self.common += dollars
            case Sized(sizes):
                self.sizes = sizes
            case Failed(number, reason, message) if number == self.asked:
                self.over = End("SamplerFailed", f"{reason}: {message}")
            case Report() | Finished() | Failed() | Stopped():
                self._answer(self.trials[entry.trial], entry)

    def _raise(self, limits: Limits) -> None:
        before, self.limits = self.limits, limits
        if self.over is not None and limits.reopens(self.over.reason, before):
            self.over = None

    def _add(self, trial: Trial) -> None:
        assert trial.number == len(self.trials), f"trial {trial.number} is not the next one"
        self.trials.append(trial)

    def _train(self, trial: Trial, to: int) -> None:
        trial.phase, trial.to, trial.decision = "Running", to, self.decided
        self.decided += 1
        self.running += 1
        self.pruner.trained(trial, to)

    def _stop(self, trial: Trial, reason: str) -> None:
        if trial.phase == "Running":
            self.running -= 1
        self.stopping += 1
        trial.phase, trial.reason = "Stopping", reason
        if trial.number in self.deleted:
            self.deleted.remove(trial.number)
        self.pruner.ended(trial, None)

    def _answer(self, trial: Trial, answer: Answer) -> None:
        self.dollars += max(0.0, answer.dollars - trial.dollars)
        trial.seconds, trial.dollars = max(trial.seconds, answer.seconds), max(trial.dollars, answer.dollars)
        if trial.phase == "Running":
            self.running -= 1
        match answer:
            case Report() | Finished():
                self.units += answer.at - trial.at
                trial.at, trial.version = answer.at, answer.version
                trial.values = tuple(each.value(answer) for each in self.settings.objectives)
                trial.phase = "Paused" if isinstance(answer, Report) else "Finished"
                first = self.settings.objectives[0]
                if not trial.best or first.score(trial.values[0]) > first.score(trial.best[0]):
                    trial.best = trial.values
            case Failed():
                trial.phase, trial.reason, trial.message = "Failed", answer.reason, answer.message
            case Stopped():
                trial.phase = "Stopped"
                self.stopping -= 1
        if trial.ended and trial.number in self.deleted:
            self.deleted.remove(trial.number)
        if trial.ended and trial.origin is not None:
            self._release(trial.origin)
        if not self.settings.in_order:
            self._learn(trial, answer)
        elif trial.decision >= self.known and trial.decision not in self._arrived:
            self._arrived[trial.decision] = (trial, answer)
        elif isinstance(answer, Stopped):
            self._news.append((trial, answer))

    def _release(self, origin: Origin) -> None:
        self.references[origin.trial, origin.version] -= 1
        if self.references[origin.trial, origin.version] <= 0:
            del self.references[origin.trial, origin.version]

    def _learn(self, trial: Trial, answer: Answer) -> None:
        """An answer becomes known."""
        self._news.append((trial, answer))
        match answer:
            case Report() | Finished():
                objective = self.settings.objectives[0]
                value = objective.value(answer)
                score = objective.score(value)
                if score > self._best_score:
                    self._best_score, self.best = score, trial
                if self.reached is None and objective.reached(value):
                    self.reached = trial
                if isinstance(answer, Finished):
                    self.pruner.ended(trial, score)
                elif trial.phase == "Paused":
                    self.pruner.reported(trial, answer.at, score, answer.version)
            case Failed():
                self.failed += 1
                self.pruner.ended(trial, None)
            case Stopped():
                self.pruner.ended(trial, None)
