"""Jobs and searches for TensorBoard, MLflow and Optuna, opened by the trackers themselves."""

import functools
import json
import math
import tempfile
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from helpers.cluster_api import cluster_api, running, trainingjob, tuningjob
from helpers.commands import Shell
from helpers.memory import peak_bytes
from helpers.tracked import RunJob, RunSearch, run, run_job, run_search

import sapflow
from sapflow.monitoring.trackers import registry
from sapflow.monitoring.trackers.points import Point
from sapflow.monitoring.trackers.registry import NAMES, Name
from sapflow.monitoring.trackers.tracked_job import TrackedJob
from sapflow.monitoring.trackers.tracked_search import TrackedSearch
from sapflow.objects import keys
from sapflow.records.commits import Commit, Records
from sapflow.tuning.trial import Trial

RATE = "optimizer.learningRate"
VERSIONS = 5
LIBRARIES = {"tensorboard": "tensorboard", "mlflow": "mlflow", "optuna": "optuna"}


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> RunJob:
    return run_job(tmp_path_factory.mktemp("job"))


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> RunSearch:
    return run_search(tmp_path_factory.mktemp("search"))


@pytest.fixture(params=NAMES)
def tracker(request: pytest.FixtureRequest) -> Name:
    name: Name = request.param
    pytest.importorskip(LIBRARIES[name])
    return name


@functools.cache
def empty_database() -> bytes:
    """An MLflow database without runs: MLflow takes seconds to make one."""
    with tempfile.TemporaryDirectory() as folder:
        registry.tracker_at("mlflow", folder)
        mlflow_client(Path(folder)).search_experiments()
        return (Path(folder) / "mlflow.db").read_bytes()


def write(name: Name, place: Path, found: TrackedJob | TrackedSearch) -> int:
    """Write to a tracker; how many versions were new."""
    if name == "mlflow" and not (place / "mlflow.db").exists():
        place.mkdir(exist_ok=True)
        (place / "mlflow.db").write_bytes(empty_database())
    tracker = registry.tracker_at(name, str(place))
    if isinstance(found, TrackedJob):
        return run(tracker.write_job(found)).versions
    return run(tracker.write_search(found)).versions


@contextmanager
def unwarned() -> Iterator[None]:
    """What libraries warn of among themselves is no failure of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


Series = dict[str, list[tuple[int, float]]]


def tensorboard_series(folder: Path) -> Series:
    """What TensorBoard's own reader finds in a run: steps and values by tag."""
    with unwarned():
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        reader = EventAccumulator(str(folder), size_guidance={"scalars": 0})
        reader.Reload()
        return {
            tag: [(each.step, each.value) for each in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]
        }


def mlflow_client(place: Path) -> Any:
    with unwarned():
        import mlflow

        return mlflow.MlflowClient(tracking_uri=f"sqlite:///{place / 'mlflow.db'}")


def mlflow_runs(place: Path) -> dict[str, Any]:
    """The runs that are there, by the uid of their job."""
    client = mlflow_client(place)
    with unwarned():
        experiments = [each.experiment_id for each in client.search_experiments()]
        return {each.data.tags["sapflow.uid"]: each for each in client.search_runs(experiments)}


def mlflow_series(place: Path, uid: str) -> Series:
    client, found = mlflow_client(place), mlflow_runs(place)[uid]
    with unwarned():
        return {
            name: [(each.step, each.value) for each in client.get_metric_history(found.info.run_id, name)]
            for name in found.data.metrics
        }


def optuna_study(place: Path, uid: str) -> Any:
    import optuna

    return optuna.load_study(study_name=uid, storage=f"sqlite:///{place / 'optuna.db'}")


def losses(name: Name, place: Path, uid: str) -> list[tuple[int, float]]:
    """The held-out losses of a job by version, as a tracker has them."""
    match name:
        case "tensorboard":
            return tensorboard_series(place / uid)["validation/loss"]
        case "mlflow":
            return mlflow_series(place, uid)["validation/loss"]
        case "optuna":
            trial = optuna_study(place, uid).trials[0]
            return sorted(trial.intermediate_values.items())


def evaluated(found: TrackedJob) -> list[tuple[int, float]]:
    """The same from the job's records."""

    async def read() -> list[tuple[int, float]]:
        return [(version, metrics["loss"]) async for version, metrics in found.evaluations()]

    return run(read())


def test_every_evaluation_of_a_job_is_told_to_a_tracker_once(
    tracker: Name, job: RunJob, tmp_path: Path
) -> None:
    tracked = job.at()
    expected = evaluated(tracked)
    assert [version for version, _ in expected] == [2, 4, 5]
    assert write(tracker, tmp_path, tracked) > 0
    for _ in range(2):
        found = losses(tracker, tmp_path, tracked.uid)
        assert [step for step, _ in found] == [2, 4, 5]
        assert [value for _, value in found] == pytest.approx([value for _, value in expected])
        assert write(tracker, tmp_path, tracked) == 0


def test_a_job_that_goes_on_is_told_from_where_it_was(tracker: Name, job: RunJob, tmp_path: Path) -> None:
    begun, done = job.at(3), job.at()
    assert begun.state == "Unfinished"
    assert write(tracker, tmp_path / "twice", begun) > 0
    assert [step for step, _ in losses(tracker, tmp_path / "twice", done.uid)] == [2]
    assert write(tracker, tmp_path / "twice", done) in (VERSIONS - 3, 1)
    assert write(tracker, tmp_path / "once", done) in (VERSIONS, 1)
    assert losses(tracker, tmp_path / "twice", done.uid) == losses(tracker, tmp_path / "once", done.uid)


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_an_export_that_was_interrupted_leaves_nothing_twice(
    name: Name, job: RunJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(LIBRARIES[name])
    tracked, points = job.at(), TrackedJob.points
    write(name, tmp_path, job.at(2))

    async def broken(self: TrackedJob, after: int = -1) -> AsyncIterator[Point]:
        async for each in points(self, after):
            yield each
            if each.version == 4:
                raise RuntimeError("no more")

    with monkeypatch.context() as patch:
        patch.setattr(TrackedJob, "points", broken)
        patch.setattr("sapflow.monitoring.trackers.mlflow.FIGURES", 30)
        with pytest.raises(RuntimeError, match="no more"):
            write(name, tmp_path, tracked)
    write(name, tmp_path, tracked)
    read = (
        tensorboard_series(tmp_path / tracked.uid)
        if name == "tensorboard"
        else mlflow_series(tmp_path, tracked.uid)
    )
    assert [step for step, _ in read["train/loss"]] == [1, 2, 3, 4, 5]
    assert all(max(Counter(step for step, _ in series).values()) == 1 for series in read.values())


def test_a_job_that_was_begun_again_takes_the_place_of_what_was_told(
    tracker: Name, job: RunJob, tmp_path: Path
) -> None:
    other = run_job(tmp_path / "other", algorithm_seed=4).at()
    tracked = replace(job.at(), uid=other.uid)
    write(tracker, tmp_path, tracked)
    write(tracker, tmp_path, other)
    found = losses(tracker, tmp_path, other.uid)
    assert [value for _, value in found] == pytest.approx([value for _, value in evaluated(other)])
    assert evaluated(other) != evaluated(tracked)


def test_tensorboard_has_figures_of_all_kinds_and_the_spec(job: RunJob, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    tracked = job.at()
    write("tensorboard", tmp_path, tracked)
    series = tensorboard_series(tmp_path / tracked.uid)
    assert {"train/loss", "train/accuracy", "validation/accuracy", "account/costUSD", "phases/compute"} <= {
        *series
    }
    assert {"bytes/read", "bytes/written", "step/seconds", "train/learningRate"} <= {*series}
    assert tracked.last is not None
    step, cost = series["account/costUSD"][-1]
    assert step == VERSIONS
    assert cost == pytest.approx(tracked.last.account.cost_usd)
    with unwarned():
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        reader = EventAccumulator(str(tmp_path / tracked.uid))
        reader.Reload()
        assert reader.PluginTagToContent("text").keys() >= {"spec", "outcome", "provenance", "sha256"}
        (text,) = reader.Tensors("spec")[0].tensor_proto.string_val
    assert "learningRate: 0.1" in text.decode()


def test_exporting_again_to_tensorboard_changes_no_byte(search: RunSearch, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    write("tensorboard", tmp_path, search.read())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert write("tensorboard", tmp_path, search.read()) == 0
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def hparams(folder: Path, path: str, body: Any) -> Any:
    """What TensorBoard's HParams plugin answers to its page."""
    with unwarned():
        from tensorboard import program
        from werkzeug.test import Client

        board = program.TensorBoard()
        board.configure(logdir=str(folder), load_fast="false", reload_interval=0)
        ingester = board._make_data_ingester()
        ingester.start()
        from tensorboard.backend import application

        made = application.TensorBoardWSGIApp(
            board.flags, board.plugin_loaders, ingester.data_provider, board.assets_zip_provider
        )
        answer = Client(made).post(f"/data/plugin/hparams/{path}", json=body)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return json.loads(answer.get_data(as_text=True))


def test_tensorboards_hparams_page_has_a_row_for_each_trial(search: RunSearch, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    tracked = search.read()
    write("tensorboard", tmp_path, tracked)
    experiment = hparams(tmp_path, "experiment", {"experimentName": ""})
    assert [each["name"] for each in experiment["hparamInfos"]] == [RATE]
    assert [each["name"]["tag"] for each in experiment["metricInfos"]] == ["validation/loss"]
    statuses = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
    wanted = {
        "experimentName": "",
        "allowedStatuses": statuses,
        "colParams": [{"hparam": RATE}, {"metric": {"tag": "validation/loss", "group": ""}}],
        "startIndex": 0,
        "sliceSize": 100,
    }
    rows = hparams(tmp_path, "session_groups", wanted)["sessionGroups"]
    assert {each["hparams"][RATE] for each in rows} == {
        each.parameters[f"spec.{RATE}"] for each in tracked.trials
    }
    values = {each["hparams"][RATE]: each["metricValues"][0]["value"] for each in rows}
    best = tracked.best
    assert best is not None
    assert values[best.parameters[f"spec.{RATE}"]] == pytest.approx(best.values[0])


def test_mlflow_has_a_run_of_a_job_with_its_model(job: RunJob, tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    tracked = job.at()
    write("mlflow", tmp_path, tracked)
    (found,) = mlflow_runs(tmp_path).values()
    assert found.info.status == "FINISHED"
    assert found.data.params[RATE] == "0.1"
    assert found.data.params["model.args.hidden"] == "[8]"
    assert found.data.tags["sapflow.sha256"] == tracked.notes["sha256"]
    assert found.info.end_time - found.info.start_time == pytest.approx(1000 * tracked.seconds, abs=1)
    client = mlflow_client(tmp_path)
    with unwarned():
        names = {each.path for each in client.list_artifacts(found.info.run_id)}
        assert names == {"model.safetensors", "outcome.json", "provenance.json", "spec.yaml"}
        model = Path(client.download_artifacts(found.info.run_id, "model.safetensors"))
    assert model.read_bytes() == job.place.result()


def test_mlflow_has_a_run_for_each_trial_below_that_of_the_search(search: RunSearch, tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    tracked = search.read()
    assert write("mlflow", tmp_path, tracked) == sum(
        max(run(tracked.trial(each.number)).version, 0) for each in tracked.trials
    )
    found = mlflow_runs(tmp_path)
    parent = found.pop(tracked.uid)
    assert len(found) == len(tracked.trials)
    assert {each.data.tags["mlflow.parentRunId"] for each in found.values()} == {parent.info.run_id}
    for trial in tracked.trials:
        child = found[tracked.trial_uid(trial.number)]
        assert child.data.params == {RATE: str(trial.parameters[f"spec.{RATE}"])}
        assert child.data.metrics["validation/loss"] == trial.values[0]
        assert child.info.status == ("FINISHED" if trial.phase == "Finished" else "RUNNING")
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["sapflow.best.trial"] == str(search.outcome["trial"])
    assert RATE not in parent.data.params
    with unwarned():
        names = {each.path for each in mlflow_client(tmp_path).list_artifacts(parent.info.run_id)}
    assert names == {"model.safetensors", "outcome.json", "spec.yaml"}
    assert write("mlflow", tmp_path, search.read()) == 0
    assert len(mlflow_runs(tmp_path)) == len(tracked.trials) + 1


def test_a_study_has_the_trials_of_a_search_with_states_and_what_pruning_knew(
    search: RunSearch, tmp_path: Path
) -> None:
    optuna = pytest.importorskip("optuna")
    tracked = search.read()
    write("optuna", tmp_path, tracked)
    study = optuna_study(tmp_path, tracked.uid)
    assert study.direction == optuna.study.StudyDirection.MINIMIZE
    assert study.best_trial.number == search.outcome["trial"]
    assert study.best_value == search.outcome["objective"]
    states = {"Finished": "COMPLETE", "Paused": "PRUNED"}
    assert [each.state.name for each in study.trials] == [states[each.phase] for each in tracked.trials]
    for each, trial in zip(study.trials, tracked.trials, strict=True):
        assert each.params == {RATE: trial.parameters[f"spec.{RATE}"]}
        assert each.intermediate_values[trial.version] == trial.values[0]
        assert each.user_attrs["costUSD"] == pytest.approx(trial.dollars)
        assert (each.datetime_complete - each.datetime_start).total_seconds() == pytest.approx(
            trial.seconds, abs=1e-3
        )


def test_optuna_dashboard_shows_the_study(search: RunSearch, tmp_path: Path) -> None:
    dashboard = pytest.importorskip("optuna_dashboard")
    pytest.importorskip("werkzeug")
    from werkzeug.test import Client

    tracked = search.read()
    write("optuna", tmp_path, tracked)
    with unwarned():
        page = Client(dashboard.wsgi(f"sqlite:///{tmp_path / 'optuna.db'}"))
        (study,) = json.loads(page.get("/api/studies").text)["study_summaries"]
        assert study["study_name"] == tracked.uid
        shown = json.loads(page.get(f"/api/studies/{study['study_id']}").text)
    assert [each["number"] for each in shown["trials"]] == [each.number for each in tracked.trials]
    assert {each["state"] for each in shown["trials"]} == {"Complete", "Pruned"}
    assert [each["filename"] for each in shown["artifacts"]] == [
        f"trial-{search.outcome['trial']}-version-{search.outcome['version']}.safetensors"
    ]


def as_it_was(tracked: TrackedSearch) -> TrackedSearch:
    """The search before it had an end, and before its last trials had one."""
    state = tracked.state
    trials: list[Trial] = []
    for each in tracked.trials[:-1]:
        running = each.number >= len(tracked.trials) - 2
        trials.append(replace(each, phase="Running", values=()) if running else each)
    before = replace(tracked, documents={"spec": tracked.documents["spec"]}, model=None)
    object.__setattr__(before, "state", type(state)(state.settings))
    before.state.trials = trials
    return before


def test_a_search_that_goes_on_is_brought_up_to_date(
    tracker: Name, search: RunSearch, tmp_path: Path
) -> None:
    tracked = search.read()
    write(tracker, tmp_path, as_it_was(tracked))
    write(tracker, tmp_path, tracked)
    number = tracked.trials[-1].number
    match tracker:
        case "tensorboard":
            steps = tensorboard_series(tmp_path / tracked.uid)["search/objective"]
            assert [step for step, _ in steps] == list(range(len(tracked.trials)))
            assert tensorboard_series(tmp_path / tracked.uid / f"trial-{number:05d}")["validation/loss"]
        case "mlflow":
            assert len(mlflow_runs(tmp_path)) == len(tracked.trials) + 1
            assert mlflow_series(tmp_path, tracked.trial_uid(number))["validation/loss"]
        case "optuna":
            study = optuna_study(tmp_path, tracked.uid)
            assert "RUNNING" not in {each.state.name for each in study.trials}
            assert len(study.trials) == len(tracked.trials)


def test_a_job_that_never_came_to_a_number_is_shown_as_failed(job: RunJob, tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    tracked = job.at()
    points = TrackedJob.points

    async def without_numbers(self: TrackedJob, after: int = -1) -> AsyncIterator[Point]:
        async for each in points(self, after):
            yield replace(each, values=dict.fromkeys(each.values, math.nan))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrackedJob, "points", without_numbers)
        write("optuna", tmp_path, tracked)
    (trial,) = optuna_study(tmp_path, tracked.uid).trials
    assert trial.state == optuna.trial.TrialState.FAIL


def test_the_command_writes_a_search_and_says_how_to_open_it(
    tracker: Name, search: RunSearch, tmp_path: Path, shell: Shell
) -> None:
    store, uid = search.place.path, search.place.uid
    done = shell("export", uid, "--store", store, "--to", tracker, tmp_path / "there", "--json")
    assert done.code == 0, done.err
    assert done.json["trials"] == len(search.read().trials)
    assert done.json["versions"] > 0
    again = shell("export", uid, "--store", store, "--to", tracker, tmp_path / "there")
    assert "0 versions of 6 trials new there" in again.out
    assert str(tmp_path / "there") in again.out.partition("Open it:")[2]


def test_the_command_writes_a_job_as_it_was_at_a_version(
    tracker: Name, job: RunJob, tmp_path: Path, shell: Shell
) -> None:
    uid = job.place.uid
    done = shell(
        "export", f"{uid}@4", "--store", job.place.path, "--to", tracker, tmp_path / "there", "--json"
    )
    assert done.code == 0, done.err
    assert [step for step, _ in losses(tracker, tmp_path / "there", uid)] == [2, 4]
    unknown = shell("export", f"{uid}@99", "--store", job.place.path, "--to", tracker, tmp_path / "there")
    assert "has no version 99" in unknown.err


def test_what_cannot_be_written_is_told_with_a_remedy(
    job: RunJob, search: RunSearch, tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, uid = job.place.path, job.place.uid
    (tmp_path / "file").write_text("")
    unknown = shell("export", uid, "--store", store, "--to", "wandb", tmp_path)
    assert unknown.code == 2
    assert "must be one of tensorboard, mlflow, optuna" in unknown.err
    both = shell("export", uid, "--store", store, "--to", "optuna", tmp_path, "-o", tmp_path / "m")
    assert "--output" in both.err
    versioned = shell(
        "export", f"{search.place.uid}@3", "--store", search.place.path, "--to", "optuna", tmp_path
    )
    assert "is for a job, and this is a search" in versioned.err

    def absent(module: str) -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    for name in NAMES:
        with monkeypatch.context() as patch:
            patch.setattr("sapflow.monitoring.trackers.tracker.importlib.import_module", absent)
            missing = shell("export", uid, "--store", store, "--to", name, tmp_path / "none")
        assert missing.code == 3
        assert f"pip install 'sapflow[{name}]'" in missing.err
    for name in NAMES:
        pytest.importorskip(LIBRARIES[name])
        refused = shell("export", uid, "--store", store, "--to", name, tmp_path / "file" / "below")
        assert refused.code == 3, refused.err
        assert "cannot be" in refused.err


def test_an_mlflow_server_that_does_not_answer_is_named(
    job: RunJob, tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    url = "http://127.0.0.1:9"
    refused = shell("export", job.place.uid, "--store", job.place.path, "--to", "mlflow", url)
    assert refused.code == 3
    assert f"MLflow at {url} has refused" in refused.err


def test_nothing_of_a_job_that_is_not_trained_is_exported(tmp_path: Path, shell: Shell) -> None:
    from helpers.jobs import make_place, tiny_job

    place = make_place(tmp_path / "store", tiny_job())
    place.store.create(keys.spec(keys.job(place.uid)), b"{}")
    done = shell("export", place.uid, "--store", tmp_path / "store", "--to", "optuna", tmp_path / "there")
    assert done.code == 2
    assert "nothing of job" in done.err


def test_python_writes_a_run_and_a_search(
    tracker: Name, search: RunSearch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = sapflow.export_to(search.place.uid, tracker, tmp_path / "there", store=search.place.path)
    assert (done.uid, done.trials) == (search.place.uid, len(search.read().trials))
    with pytest.raises(sapflow.DataError, match="holds no job"):
        sapflow.export_to("unknown", tracker, tmp_path / "there", store=search.place.path)
    with pytest.raises(sapflow.SpecError, match="must be one of tensorboard, mlflow, optuna"):
        sapflow.export_to(search.place.uid, "wandb", "there", store=search.place.path)  # type: ignore[arg-type]


def test_the_memory_of_an_export_does_not_grow_with_the_length_of_a_job(job: RunJob, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    tracked = job.at()
    assert tracked.first is not None
    assert tracked.last is not None
    template = tracked.last

    class Long(Records):
        """Commits of any version, all alike."""

        async def commit(self, version: int) -> Commit:
            return template.model_copy(update={"version": version})

    folders = count()

    def peak(versions: int, enough: int = 0) -> int:
        last = template.model_copy(update={"version": versions})
        records = Long(tracked.records.store, tracked.records.prefix)
        longer = replace(tracked, records=records, last=last, documents={}, model=None, evaluated=())

        def written() -> None:
            assert write("tensorboard", tmp_path / f"long-{next(folders)}", longer) == versions

        return peak_bytes(written, enough)

    peak(100)
    bound = peak(300) + (128 << 10)
    assert peak(1_200, enough=bound) < bound


def test_a_job_of_a_cluster_is_written_from_its_store_by_command_and_python(
    job: RunJob, tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")
    store, uid = job.place.path, job.place.uid
    body = trainingjob("digits", **running(VERSIONS))
    body["metadata"]["uid"] = uid
    with cluster_api() as api:
        monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path)))
        api.jobs["team", "digits"] = body
        client = sapflow.Client()
        done = client.export_to("digits", "optuna", tmp_path / "python", store=str(store))
        arguments = ("export", "digits", "-n", "team", "--to", "optuna", tmp_path / "command")
        said = shell(*arguments, "--store", store, "--json").json
        unnamed = shell(*arguments)
    assert done.uid == said["uid"] == uid
    assert losses("optuna", tmp_path / "python", uid) == losses("optuna", tmp_path / "command", uid)
    assert "whose store cannot be told from here" in unnamed.err


def test_a_search_of_a_cluster_and_one_of_its_trials_are_written_from_its_store(
    search: RunSearch, tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    store, uid = search.place.path, search.place.uid
    body = tuningjob("digits-search")
    body["metadata"]["uid"] = uid
    with cluster_api() as api:
        monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path)))
        api.searches["team", "digits-search"] = body
        client = sapflow.Client()
        done = client.export_to("digits-search", "tensorboard", tmp_path / "python", store=str(store))
        arguments = ("-n", "team", "--store", store, "--to", "tensorboard", tmp_path / "command", "--json")
        said = shell("export", "digits-search", *arguments).json
        of_trial = shell("export", "digits-search/trials/0", *arguments).json
    assert done.trials == said["trials"] == len(search.read().trials)
    assert of_trial["uid"] == f"{uid}/trials/0"
    assert "trials" not in of_trial
    alone = tensorboard_series(tmp_path / "command" / uid / "trials" / "0")
    assert (
        alone["validation/loss"]
        == tensorboard_series(tmp_path / "command" / uid / "trial-00000")["validation/loss"]
    )
