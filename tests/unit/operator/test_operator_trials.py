"""What a search's driver shows of it: the status, and the objects of trials."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from helpers.searches import search_job

from sapflow.kube.errors import ClusterError
from sapflow.monitoring.tuning_progress import TrialState
from sapflow.tuning.actions import Advance, Deleted, Failed, Finished, Report, Stop, Stopped
from sapflow.tuning.budget import Budget
from sapflow.tuning.calls import Calls
from sapflow.tuning.trial import Trial
from sapflow_operator import names
from sapflow_operator.driver_pod.search_progress import MOST_BYTES, SearchProgress, SearchReporter
from sapflow_operator.driver_pod.trial_objects import LAST, MOST, TrialObjects
from sapflow_operator.kinds.tuning_status import tuning_status

RATE = "spec.optimizer.learningRate"


def progress_of(trials: int = 0, **spec: Any) -> SearchProgress:
    progress = SearchProgress(search_job(**spec))
    progress.opened(())
    for number in range(trials):
        finish(progress, number, 0.5 + number / (2 * trials))
    return progress


def finish(progress: SearchProgress, number: int, value: float) -> None:
    progress.began(Advance(number, 16, {RATE: 0.1}))
    progress.told(Finished(number, {"accuracy": value}, 16, 40, 3.0, 0.001))


class Unheard:
    """Takes no report: nothing is sent in these tests."""

    async def apply(self, progress: Mapping[str, Any]) -> None:
        raise AssertionError("nothing is reported here")


def fields_of(progress: SearchProgress) -> dict[str, Any]:
    async def read() -> dict[str, Any]:
        reporter = SearchReporter(search_job(), Unheard())  # type: ignore[arg-type]
        reporter.progress = progress
        return reporter.fields()

    return asyncio.run(read())


def test_the_status_counts_trials_by_what_became_of_them_and_names_the_best() -> None:
    progress = progress_of(3)
    progress.began(Advance(3, 4, {RATE: 0.2}))
    progress.told(Report(3, 4, 10, {"accuracy": 0.1}))
    progress.began(Stop(3, "Pruned"))
    progress.told(Stopped(3))
    progress.began(Advance(4, 16, {RATE: 900.0}))
    progress.told(Failed(4, "NotFinite", "the loss is nan\nTraceback …"))
    progress.began(Advance(5, 16, {RATE: 0.3}))
    fields = fields_of(progress)
    assert fields["trials"] == "5/16"
    wanted = {"running": 1, "finished": 3, "pruned": 1, "failed": 1, "done": 5, "begun": 6}
    assert {name: fields[name] for name in wanted} == wanted
    assert fields["best"]["trial"] == 2
    assert [each["trial"] for each in fields["top"]] == [2, 1, 0]
    assert fields["failures"] == [{"trial": 4, "reason": "NotFinite", "message": "the loss is nan"}]


def test_paused_trials_of_which_most_never_go_on_count_as_done() -> None:
    progress = progress_of(1)
    for number in (1, 2, 3):
        progress.began(Advance(number, 4, {RATE: 0.2}))
        progress.told(Report(number, 4, 10, {"accuracy": 0.1}))
    fields = fields_of(progress)
    assert (fields["trials"], fields["done"], fields["paused"], fields["percent"]) == ("4/16", 4, 3, 25.0)
    progress.began(Advance(2, 16, {RATE: 0.2}))
    assert fields_of(progress)["trials"] == "3/16"


class Heard:
    """Keeps the reports that it takes."""

    def __init__(self) -> None:
        self.reports: list[Mapping[str, Any]] = []

    async def apply(self, progress: Mapping[str, Any]) -> None:
        self.reports.append(progress)

    async def close(self) -> None:
        """Nothing to end."""


def test_a_search_whose_log_was_not_read_yet_reports_nothing_in_place_of_what_an_earlier_driver_reported() -> (
    None
):
    async def run(*, opened: bool) -> list[Mapping[str, Any]]:
        api = Heard()
        async with SearchReporter(search_job(), api) as reporter:  # type: ignore[arg-type]
            reporter.attach(Calls(4, Budget(None)))
            await asyncio.sleep(0)
            if opened:
                reporter.opened([Trial(0, {RATE: 0.1}, phase="Finished", values=(0.9,))])
        return api.reports

    assert asyncio.run(run(opened=False)) == []
    assert [each["done"] for each in asyncio.run(run(opened=True))][-1:] == [1]


def test_the_status_counts_what_calls_have_cost_of_trials_that_have_told_nothing_yet() -> None:
    async def read() -> dict[str, Any]:
        reporter = SearchReporter(search_job(), Unheard())  # type: ignore[arg-type]
        reporter.progress = progress_of(1)
        reporter.attach(Calls(4, Budget(0.5, used=0.02)))
        return reporter.fields()

    assert asyncio.run(read())["costUSD"] == 0.02


def test_the_status_has_only_fields_of_its_schema_and_stays_small() -> None:
    progress = SearchProgress(search_job())
    progress.opened(())
    long = {f"spec.model.args.p{index}": "x" * 1000 for index in range(64)}
    for number in range(20):
        progress.began(Advance(number, 16, long))
        progress.told(Finished(number, {"accuracy": number / 20}, 16))
    fields = fields_of(progress)
    assert set(fields) <= set(tuning_status()["properties"]["progress"]["properties"])
    assert len(json.dumps(fields).encode()) <= MOST_BYTES
    assert "parameters" in fields["best"]
    assert len(fields["top"]) == 10


def test_a_driver_that_starts_again_counts_what_the_log_has() -> None:
    progress = SearchProgress(search_job())
    stopped, failed = Trial(0, {RATE: 0.1}), Trial(1, {RATE: 0.2})
    stopped.phase, stopped.reason = "Stopped", "Pruned"
    failed.phase, failed.reason, failed.message = "Failed", "NotFinite", "nan"
    progress.opened([stopped, failed])
    fields = fields_of(progress)
    assert (fields["pruned"], fields["failed"]) == (1, 1)
    assert fields["failures"][0]["reason"] == "NotFinite"


class Api:
    """The objects of trials, as an API server would have them, and every request."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str]] = []
        self.heard: asyncio.Queue[list[tuple[str, list[dict[str, Any]]]]] = asyncio.Queue()
        self.fails = 0

    async def changes(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[Any, None]:
        yield [("LISTED", list(self.objects.values()))]
        while True:
            yield await self.heard.get()

    async def apply(self, path: str, manifest: Mapping[str, Any], manager: str) -> None:
        if self.fails:
            self.fails -= 1
            raise ClusterError("not allowed", 403)
        assert manager == names.DRIVER_MANAGER
        self.requests.append(("apply", path.rpartition("/")[2]))
        self.objects[path] = json.loads(json.dumps(manifest))

    async def patch(self, path: str, change: Mapping[str, Any]) -> None:
        self.requests.append(("patch", path.rpartition("/")[2]))
        found = self.objects.get(path)
        if found is None:
            raise ClusterError("gone", 404)
        found["metadata"] |= change["metadata"]
        if "deletionTimestamp" in found["metadata"]:
            del self.objects[path]

    async def delete(self, path: str) -> None:
        self.requests.append(("delete", path.rpartition("/")[2]))
        self.objects.pop(path, None)

    async def close(self) -> None: ...

    def remove(self, number: int) -> None:
        """A user deletes an object, which its finalizer holds."""
        (found,) = [each for each in self.objects.values() if each["spec"]["number"] == number]
        found["metadata"]["deletionTimestamp"] = "2026-05-01T12:00:00Z"
        self.heard.put_nowait([("MODIFIED", [found])])

    @property
    def numbers(self) -> list[int]:
        return sorted(each["spec"]["number"] for each in self.objects.values())


def shown(api: Api, progress: SearchProgress, deleted: list[int]) -> TrialObjects:
    return TrialObjects(
        api,  # type: ignore[arg-type]
        progress,
        namespace="team",
        search="digits",
        uid="u",
        deleted=deleted.append,
    )


async def settle(objects: TrialObjects) -> None:
    """Write all that is due, without its pauses."""
    while await objects._write_one():
        pass


def test_an_object_is_owned_labelled_and_held_and_says_what_people_look_for() -> None:
    progress = progress_of(1)
    api = Api()
    asyncio.run(settle(shown(api, progress, [])))
    (found,) = api.objects.values()
    metadata = found["metadata"]
    assert metadata["name"] == "digits-0"
    assert metadata["labels"][names.TUNING_LABEL] == "digits"
    assert metadata["labels"][names.UID_LABEL] == "u"
    assert metadata["finalizers"] == [names.TRIAL_FINALIZER]
    assert [(each["kind"], each["name"], each["uid"]) for each in metadata["ownerReferences"]] == [
        ("TuningJob", "digits", "u")
    ]
    assert found["spec"] == {"number": 0, "parameters": {RATE: "0.1"}}
    status = found["status"]
    assert (status["state"], status["step"], status["objective"]) == ("Finished", 16, 0.5)
    assert status["parameters"] == "learningRate=0.1"


def test_there_are_at_most_300_objects_the_best_and_those_at_work_first() -> None:
    progress, objects = progress_of(), None
    objects = shown(Api(), progress, [])
    for number in range(400):
        finish(progress, number, 1 - number / 1000)
        objects.told(Finished(number, {"accuracy": 0.0}))
    for number in range(400, 800):
        progress.began(Advance(number, 4, {RATE: 0.1}))
        if number >= 450:
            progress.told(Report(number, 4, 10, {"accuracy": 0.0}))
    wanted = objects.wanted()
    assert len(wanted) == MOST
    assert set(range(400, 450)) <= set(wanted)
    assert set(range(10)) <= set(wanted)
    assert set(range(400 - LAST, 400)) <= set(wanted)
    for number in range(800, 1200):
        progress.began(Advance(number, 4, {RATE: 0.1}))
    assert set(range(10)) <= set(objects.wanted())


def test_what_has_not_changed_is_not_written_again_and_what_is_not_wanted_goes() -> None:
    async def run() -> Api:
        api, progress = Api(), progress_of(1)
        objects = shown(api, progress, [])
        await settle(objects)
        written = len(api.requests)
        await settle(objects)
        assert len(api.requests) == written
        for number in range(1, 12):
            finish(progress, number, 0.9 + number / 1000)
        await settle(objects)
        return api

    api = asyncio.run(run())
    assert api.numbers == list(range(2, 12))
    assert api.requests.index(("patch", "digits-0")) < api.requests.index(("delete", "digits-0"))


def test_an_object_that_is_refused_keeps_no_other_from_being_shown() -> None:
    async def run() -> Api:
        api, progress = Api(), progress_of(2)
        api.fails = 1
        await settle(shown(api, progress, []))
        return api

    assert len(asyncio.run(run()).numbers) == 1


def test_a_deleted_object_stops_its_trial_once_and_goes_when_the_log_has_it() -> None:
    async def run() -> tuple[list[int], Api]:
        api, deleted, progress = Api(), list[int](), progress_of()
        progress.began(Advance(0, 16, {RATE: 0.1}))
        objects = shown(api, progress, deleted)
        await settle(objects)
        async with objects:
            objects.opened(())
            api.remove(0)
            while not deleted:
                await asyncio.sleep(0)
            api.heard.put_nowait([("MODIFIED", list(api.objects.values()))])
            await asyncio.sleep(0)
            assert api.numbers == [0]
            objects.told(Deleted(0))
            while api.objects:
                await asyncio.sleep(0)
        return deleted, api

    deleted, api = asyncio.run(run())
    assert deleted == [0]
    assert not api.objects


def test_an_object_that_was_deleted_while_no_driver_was_there_stops_its_trial() -> None:
    async def run() -> list[int]:
        api, deleted, progress = Api(), list[int](), progress_of()
        path = "/apis/sapflow.dev/v1alpha1/namespaces/team/trials/digits-3"
        api.objects[path] = {
            "metadata": {"name": "digits-3", "deletionTimestamp": "2026-05-01T12:00:00Z"},
            "spec": {"number": 3},
        }
        async with shown(api, progress, deleted) as objects:
            await asyncio.sleep(0)
            # Before the log was read, a trial at work would look as if it had ended.
            assert deleted == []
            progress.under_way[3] = TrialState(3, "Running", {RATE: 0.1}, 16)
            objects.opened(())
            while not deleted:
                await asyncio.sleep(0)
            objects.told(Deleted(3))
        return deleted

    assert asyncio.run(run()) == [3]


def test_the_object_of_an_ended_trial_may_be_deleted_and_does_not_come_back() -> None:
    async def run() -> tuple[list[int], Api]:
        api, deleted, progress = Api(), list[int](), progress_of(2)
        objects = shown(api, progress, deleted)
        await settle(objects)
        async with objects:
            objects.opened(())
            api.remove(1)
            while 1 in api.numbers:
                await asyncio.sleep(0)
        return deleted, api

    deleted, api = asyncio.run(run())
    assert deleted == []
    assert api.numbers == [0]
