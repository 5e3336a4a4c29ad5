"""A search in a cluster for scripts and notebooks: what `sapflow.Client.tune` gives."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sapflow.client import cluster_search, cluster_store, pod_logs, submission, trials, versions
from sapflow.client.cluster import Cluster, Object
from sapflow.client.cluster_kinds import TUNING_JOBS
from sapflow.client.in_time import in_time
from sapflow.client.pod_logs import Role
from sapflow.errors import JobFailed, SpecError
from sapflow.spec.trial_names import TrialName
from sapflow.tuning.spec_record import read_spec
from sapflow.tuning.trial import Trial


@dataclass(frozen=True, slots=True)
class ClusterTrial:
    """A trial of a search in a cluster, as it was last reported."""

    number: int
    state: str
    """Running, Paused, Finished, Failed or Stopped."""
    parameters: Mapping[str, Any]
    """By path in the job's spec."""
    objective: float | None
    """None before its first evaluation."""
    step: int
    """What it was trained for: epochs, or steps where the job says these."""
    cost_usd: float
    reason: str
    """Why it failed or was stopped; '' otherwise."""

    @classmethod
    def of_status(cls, found: Mapping[str, Any]) -> "ClusterTrial":
        """From one of the best trials of a search's status."""
        return cls._of(found["trial"], found, found.get("parameters", {}))

    @classmethod
    def of_object(cls, found: Object) -> "ClusterTrial":
        """From the object of a trial."""
        return cls._of(found["spec"]["number"], found.get("status", {}), found["spec"].get("parameters", {}))

    @classmethod
    def _of(cls, number: int, status: Mapping[str, Any], texts: Mapping[str, str]) -> "ClusterTrial":
        return cls(
            number,
            status.get("state", ""),
            cluster_search.parameters_of(texts),
            status.get("objective"),
            status.get("step", 0),
            status.get("costUSD", 0.0),
            status.get("reason", ""),
        )

    @classmethod
    def of_log(cls, trial: Trial) -> "ClusterTrial":
        """From the search's log in its store."""
        values = trial.values
        state = "Stopped" if trial.phase == "Stopping" else trial.phase
        return cls(
            trial.number,
            state,
            dict(trial.parameters),
            values[0] if values else None,
            trial.at,
            trial.dollars,
            trial.reason,
        )


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search in a cluster has found."""

    uid: str
    """The search's name in its store."""
    trial: int
    version: int
    """The version of the best trial that is the model."""
    parameters: Mapping[str, Any]
    """Of the best trial, by path."""
    objective: float
    second_objective: float | None
    """None for a search with one."""
    model: str
    """The URI of the model, a safetensors file, in the search's store."""
    sha256: str
    ended_by: str
    """Why the search has ended: Completed, GoalReached, BudgetExceeded or DeadlineExceeded."""


@dataclass(frozen=True, slots=True)
class SearchState:
    """A search in a cluster at the time of the request."""

    name: str
    namespace: str
    uid: str
    state: str
    """Succeeded, Failed, or the reason why it is neither yet: Pending, Queued, Running, Suspended …"""
    reason: str
    """Why it has ended, or is not at work: Completed, GoalReached, BudgetExceeded …"""
    message: str
    counts: Mapping[str, int]
    """Trials by what became of them: begun, done, running, paused, finished, pruned, failed, all 0 before the driver's
    first report; maxTrials if it is limited, from then on."""
    top: tuple[ClusterTrial, ...]
    """The ten best trials, the best first."""
    cost_usd: float
    ended: bool
    """Whether it has ended, and no limit was raised since."""
    details: Mapping[str, Any] = field(repr=False)
    """The full description, as `sapflow status --json` prints it."""

    @property
    def best(self) -> ClusterTrial | None:
        """The best trial so far; None if none has a value."""
        return self.top[0] if self.top else None

    @classmethod
    def of(cls, search: Object, details: Mapping[str, Any]) -> "SearchState":
        """From the API server's object, and the description of `cluster_search.describe`."""
        progress = search.get("status", {}).get("progress", {})
        names = ("begun", "done", "running", "paused", "finished", "pruned", "failed")
        limit = {"maxTrials": progress["maxTrials"]} if "maxTrials" in progress else {}
        return cls(
            name=details["job"],
            namespace=details["namespace"],
            uid=details["uid"],
            state=details["state"],
            reason=details["reason"],
            message=details["message"],
            counts={name: progress.get(name, 0) for name in names} | limit,
            top=tuple(map(ClusterTrial.of_status, progress.get("top", ()))),
            cost_usd=progress.get("costUSD", 0.0),
            ended=cluster_search.finished(search),
            details=details,
        )


class ClusterSearch:
    """A search in a cluster, by its name. It goes on there whatever becomes of this program.

    Every method may raise JobUnknown if there is no such search (any more), ClusterRefused and ClusterUnavailable.
    """

    def __init__(self, cluster: Cluster, namespace: str, name: str) -> None:
        self._cluster, self.namespace, self.name = cluster, namespace, name

    def __repr__(self) -> str:
        return f"<search {self.name} in namespace {self.namespace}>"

    @property
    def state(self) -> SearchState:
        """The search now, with its pods and warnings in `details`."""
        found = self._read()
        return SearchState.of(found, submission.describe_now(self._cluster, found))

    @property
    def best(self) -> ClusterTrial | None:
        """The best trial so far; None if none has a value."""
        return _state_of(self._read()).best

    @property
    def result(self) -> SearchResult:
        """What the search has found, for which this waits like `wait()`."""
        return self.wait()

    def follow(self) -> Iterator[SearchState]:
        """Yields the search now and after each change, until it has ended."""
        for found in self._cluster.follow_job(self._read()):
            yield _state_of(found)
            if submission.finished(found):
                return

    def wait(self, timeout: float | None = None) -> SearchResult:
        """Wait until the search has ended, and return what it has found.

        Raises JobFailed if it fails or no trial has come to a result, TimeoutError after `timeout` seconds. The search
        continues in the cluster whatever ends the waiting, also after Ctrl-C.
        """
        last: SearchState | None = None
        for each in self.follow() if timeout is None else in_time(self.follow, timeout, self.name):
            last = each
        assert last is not None, "a search is followed until it has ended"
        found = last.details.get("result", {})
        if last.state == "Failed" or "trial" not in found:
            raise JobFailed(f"{self.name} has failed: {last.message}", reason=last.reason, version=-1)
        return SearchResult(
            last.uid,
            found["trial"],
            found["version"],
            found["parameters"],
            found["objective"],
            found.get("secondObjective"),
            found["uri"],
            found["sha256"],
            found.get("endedBy", last.reason),
        )

    def trials(self, *, store: str | None = None) -> list[ClusterTrial]:
        """The trials by number: those that the cluster shows, at most 300 (at work, the best, the last ones, paused);
        with `store`, the search's store as it is reached from here (see `export`), all of them.

        Raises StoreError.
        """
        if store is None:
            return [ClusterTrial.of_object(each) for each in self._cluster.trials(self.namespace, self.name)]
        uid = self._read()["metadata"]["uid"]
        with cluster_store.opened(store, os.environ) as found:
            search = read_spec(found, uid)
            return (
                []
                if search is None
                else [ClusterTrial.of_log(each) for each in trials.trials_of(found, search)]
            )

    def logs(self, *, role: Role = "driver", follow: bool = False, tail: int | None = None) -> Iterator[str]:
        """The lines of the log of the search's driver, which trains all trials, or with `role` of its functions; as
        `Client.logs` has them."""
        yield from pod_logs.lines(self._cluster, self._read(), role, follow=follow, tail=tail)

    def export(
        self,
        path: str | Path | None = None,
        *,
        store: str,
        trial: int | None = None,
        version: int | None = None,
    ) -> Path:
        """Write the model of the best trial, or of another one by its number, into a safetensors file: its result, or
        what it has come to, or `version` if that is kept. `store` and the default path are as `Client.export` has them.

        Raises DataError if there is no such trial or version, StoreError.
        """
        named = TrialName(self.name, trial)
        with cluster_store.session_of(self._read(), store, os.environ, named) as opened:
            return versions.export(opened, None if path is None else Path(path), version).path

    def suspend(self) -> None:
        """End driver and functions; nothing is lost, and nothing of it costs anything until it is resumed."""
        self._change({"suspend": True})

    def resume(self) -> None:
        """Go on with every trial of a suspended search."""
        self._change({"suspend": False})

    def raise_limits(
        self,
        *,
        max_trials: int | None = None,
        max_failed_trials: int | None = None,
        parallel_trials: int | None = None,
        max_workers: int | None = None,
        budget_usd: float | None = None,
        deadline_seconds: int | None = None,
    ) -> None:
        """Raise limits, after the search's end too: one that has ended by such a limit goes on.

        Raises SpecError if none is named, and where the API server refuses, as it does where one is lowered.
        """
        asked = {
            "maxTrials": max_trials,
            "maxFailedTrials": max_failed_trials,
            "parallelTrials": parallel_trials,
            "maxWorkers": max_workers,
            "budgetUSD": budget_usd,
            "deadlineSeconds": deadline_seconds,
        }
        fields = {name: value for name, value in asked.items() if value is not None}
        if not fields:
            raise SpecError([("spec", f"names no limit to be raised: name one of {', '.join(asked)}")])
        self._change(fields)

    def stop_trial(self, number: int) -> None:
        """Stop a trial, as `kubectl delete trial` does; the others go on."""
        self._cluster.delete_trial(self.namespace, self.name, number)

    def delete(self) -> None:
        """Delete the search. One that is at work ends, and its objects go as spec.template.spec.storage.deletionPolicy
        says."""
        self._cluster.delete(self.namespace, self.name, TUNING_JOBS)

    def _read(self) -> Object:
        return self._cluster.job(self.namespace, self.name, TUNING_JOBS)

    def _change(self, fields: Mapping[str, Any]) -> None:
        self._cluster.change(self.namespace, self.name, TUNING_JOBS, fields)


def _state_of(search: Object) -> SearchState:
    """A search without its pods and events."""
    return SearchState.of(search, submission.described(search))
