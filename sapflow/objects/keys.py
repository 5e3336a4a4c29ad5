"""Every object key, built in one place. Keys are computed, never listed (`Store.list` says by whom alone).

A job's keys begin with its prefix, `jobs/<uid>/`, those of a trial of a search with `jobs/<uid>/trials/<n>/`. What
several jobs read is below `shared/<digest>/`.

`<v>-<id>` is a version and the digest of everything that it follows from (see `step_id`), so two requests that
could have different results never share a key.
"""

import hashlib
import json
import re
from collections.abc import Sequence

JOBS = "jobs/"
"""Below which all jobs lie, each in a folder of its own."""
SHARED = "shared/"
"""Below which areas lie that several jobs read, each named by the digest of what its contents follow from."""
AREA_DIGITS = 32
"""Hex digits of the digest that names a shared area."""
_PARAMS = re.compile(r"jobs/[^/]+/(trials/[0-9]+/)?params/")


def digest(value: object, length: int = 16) -> str:
    """The first `length` hex digits of the SHA-256 of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def step_id(previous_commit: str, plan: str, contributions: Sequence[str] = ()) -> str:
    """The `<id>` of a version: a digest of its previous commit, its plan and, in asynchronous mode, the contributions
    that it applies."""
    return digest([previous_commit, plan, list(contributions)])


def job(uid: str) -> str:
    """The prefix of a job of its own."""
    return f"{JOBS}{uid}/"


def trial(prefix: str, number: int) -> str:
    """The prefix of a trial of the search that owns `prefix`. Below it are the keys of a whole job."""
    return f"{prefix}trials/{number}/"


def pipeline(uid: str) -> str:
    """The prefix of what is recorded of a pipeline: the documents of one file."""
    return f"pipelines/{uid}/"


def pipeline_run(prefix: str, number: int) -> str:
    """What a run of a pipeline has taken, from 0."""
    return f"{prefix}runs/{number:06d}.json"


def search_log(prefix: str) -> str:
    """The prefix of the log of the search that owns `prefix`."""
    return f"{prefix}search/"


def search_record(prefix: str, number: int) -> str:
    """A record of the log of the search that owns `prefix`."""
    return f"{search_log(prefix)}{number}.json"


def search_segment(prefix: str, number: int) -> str:
    """Many records of the log of a search, once more and together."""
    return f"{search_log(prefix)}segments/{number}.json"


def search_area(prefix: str) -> str:
    """Which shared area has the data of the search that owns `prefix`."""
    return f"{prefix}area.json"


def forecast(prefix: str) -> str:
    """What was forecast before the first trial of the search that owns `prefix`."""
    return f"{prefix}forecast.json"


def rehearsal(prefix: str) -> str:
    """Below which the search that owns `prefix` makes the steps that its forecast is from; it is removed after them."""
    return f"{prefix}rehearsal/"


def uid_of(prefix: str) -> str:
    """What a job is called whose prefix is this: its uid, behind it the trial that it is of a search."""
    return prefix.removeprefix("jobs/").rstrip("/")


def spec(prefix: str) -> str:
    return f"{prefix}spec.json"


def prefix_of(spec_key: str) -> str:
    """The prefix of the job whose spec lies under this key: the opposite of `spec`."""
    return spec_key.removesuffix("spec.json")


def plan(prefix: str, name: str) -> str:
    return f"{prefix}plans/{name}.json"


def commits(prefix: str) -> str:
    return f"{prefix}commits/"


def commit(prefix: str, version: int) -> str:
    return f"{commits(prefix)}{version}.json"


def data(prefix: str) -> str:
    """The prefix that holds the blocks and manifest of data, below that of a job or of a shared area."""
    return f"{prefix}data/"


def manifest(data_prefix: str) -> str:
    """The manifest of the data whose blocks lie below this prefix."""
    return f"{data_prefix}manifest.json"


def fitted_preparation(data_prefix: str) -> str:
    """What the steps of a preparation have learnt, and how samples are made of rows by it."""
    return f"{data_prefix}preparation.safetensors"


def profile(data_prefix: str) -> str:
    """What is kept of raw rows: a few of them, and what their columns hold."""
    return f"{data_prefix}profile.safetensors"


GOLDEN_ROWS = "golden.safetensors"
"""The file beside a model with rows that it must answer as in training."""


def rejected(data_prefix: str) -> str:
    """The prefix of the rows of raw data that gave no sample."""
    return f"{data_prefix}rejected/"


def rejected_rows(data_prefix: str, stage: str, partition: int, batch: int) -> str:
    """Rows of a batch that could not be read, or that steps could not take; only where there are such."""
    return f"{rejected(data_prefix)}{stage}/{partition}-{batch}.jsonl"


def preparation_work(data_prefix: str) -> str:
    """The prefix of everything that is needed only while data is prepared."""
    return f"{data_prefix}work/"


def preparation_plan(data_prefix: str, stage: str) -> str:
    """How a source is read: as it was surveyed, or with exact partitions."""
    return f"{preparation_work(data_prefix)}{stage}.json"


def seek_point(data_prefix: str, file: int, border: int) -> str:
    """Where a packed file of a source can be unpacked from, for a border of partitions; from number 1 on."""
    return f"{preparation_work(data_prefix)}seek/{file}/{border}"


def unpacked_size(data_prefix: str, file: int) -> str:
    """The size of what is unpacked of a file; written after all of its seek points."""
    return f"{preparation_work(data_prefix)}seek/{file}/size.json"


def scan(data_prefix: str, partition: int) -> str:
    """What a scan has found of a partition of a source."""
    return f"{preparation_work(data_prefix)}scans/{partition}"


def parsed(data_prefix: str, partition: int, batch: int) -> str:
    """A batch of parsed rows."""
    return f"{preparation_work(data_prefix)}parsed/{partition}/{batch}"


def parsed_facts(data_prefix: str, partition: int) -> str:
    """How much a partition has; written after all of its batches."""
    return f"{preparation_work(data_prefix)}parsed/{partition}/facts.json"


def preparation_state(data_prefix: str, ident: str) -> str:
    """How far the steps are; `ident` is the digest of that."""
    return f"{preparation_work(data_prefix)}states/{ident}"


def statistics(data_prefix: str, state: str, level: int, index: int) -> str:
    """What is counted in the pass after a state: of a partition on level 0, of several on those above."""
    return f"{preparation_work(data_prefix)}statistics/{state}/{level}-{index}"


def written(data_prefix: str, partition: int) -> str:
    """The mark that all blocks of a partition are written."""
    return f"{preparation_work(data_prefix)}written/{partition}"


def area(digest: str) -> str:
    """The prefix of the shared area of this digest."""
    return f"{SHARED}{digest}/"


def area_record(digest: str) -> str:
    """What the area's digest is of."""
    return f"{area(digest)}area.json"


def area_users(digest: str) -> str:
    """The prefix of the records of who uses an area."""
    return f"{area(digest)}users/"


def area_user(digest: str, uid: str) -> str:
    return f"{area_users(digest)}{uid}"


def area_removal(digest: str) -> str:
    """The mark of whoever removes an area."""
    return f"{area(digest)}removal"


def of_versions(prefix: str) -> list[str]:
    """The prefixes of all objects that a version stands on, or that were needed to make it."""
    return [f"{prefix}{folder}/" for folder in ("work", "params", "optimizer", "state", "checkpoints")]


def work(prefix: str) -> str:
    """The prefix of contributions, of which a job that has ended needs none."""
    return f"{prefix}work/"


def version_of(name: str) -> int | None:
    """The version that an object belongs to whose name in one of `of_versions` is this; None if it names none."""
    found = re.match(r"[0-9]+", name)
    return None if found is None else int(found[0])


def contribution(prefix: str, version: int, ident: str, level: int, index: int, shard: int) -> str:
    return f"{prefix}work/{version}-{ident}/{level}-{index}.{shard}"


def is_params(key: str) -> bool:
    """Whether a key of the store is that of parameters, which cells may copy."""
    return _PARAMS.match(key) is not None


def async_contribution(prefix: str, rank: int, count: int, base: int, shard: int) -> str:
    """Contribution `count` of `rank`, computed on version `base`."""
    return f"{prefix}work/async/{rank}-{count}-{base}.{shard}"


def total(prefix: str, version: int, ident: str, shard: int) -> str:
    """The sum over all workers of a shard's range, which the root keeps between its two phases."""
    return f"{prefix}work/{version}-{ident}/total.{shard}"


def cursor(contribution_key: str, done: int) -> str:
    """The cursor that an invocation writes if its time runs out after `done` micro-batches or children."""
    return f"{contribution_key}.cursor-{done}"


def params(prefix: str, version: int, ident: str, shard: int) -> str:
    return f"{prefix}params/{version}-{ident}.{shard}"


def frozen(prefix: str, ident: str) -> str:
    """The parameters without gradients, which all versions share with version 0."""
    return f"{prefix}params/0-{ident}.frozen"


def optimizer(prefix: str, version: int, ident: str, shard: int) -> str:
    return f"{prefix}optimizer/{version}-{ident}.{shard}"


def rank_state(prefix: str, version: int, ident: str, rank: int) -> str:
    """What belongs to one rank and outlives a step: its own optimiser state, for one."""
    return f"{prefix}state/{version}-{ident}/{rank}"


def evaluation(prefix: str, version: int) -> str:
    return f"{prefix}evaluations/{version}.json"


def checkpoint(prefix: str, version: int) -> str:
    return f"{prefix}checkpoints/{version}.json"


def failure(prefix: str, version: int) -> str:
    return f"{prefix}failures/{version}.json"


def running_time(prefix: str, slot: int) -> str:
    """One of the two records of how long a job with a deadline has run."""
    return f"{prefix}running/{slot}.json"


def early_account(prefix: str, slot: int) -> str:
    """One of the two records of what a job has consumed before its first version."""
    return f"{prefix}running/account-{slot}.json"


def preparation_forecast(prefix: str) -> str:
    """What the preparation of a job's raw data was forecast to take."""
    return f"{prefix}preparation/forecast.json"


def preparation_outcome(prefix: str) -> str:
    """The same with its grade, once the data is prepared."""
    return f"{prefix}preparation/outcome.json"


def metrics(prefix: str, part: int) -> str:
    """The lines about versions; a long job has them in several parts, numbered from 0."""
    return result(prefix, "metrics.jsonl" if part == 0 else f"metrics-{part}.jsonl")


def stopped_models(prefix: str) -> str:
    """The beginning of the keys of models that a job has left where it was stopped."""
    return result(prefix, "stopped-")


def stopped_model(prefix: str, version: int) -> str:
    return f"{stopped_models(prefix)}{version}.safetensors"


def result(prefix: str, name: str) -> str:
    return f"{prefix}result/{name}"
