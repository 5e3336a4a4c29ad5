"""What a preparation is expected to take, said once its first partitions are parsed, and graded at its end.

preparation/forecast.json    written once
preparation/outcome.json     the same with its grade, once the manifest stands
"""

from collections import defaultdict
from typing import Any

from pydantic import ValidationError

from sapflow.errors import CorruptObject
from sapflow.messages.preparation import MERGED_AT_ONCE, BeginReply, PartitionReply, SurveyReply
from sapflow.objects import keys
from sapflow.planning.constants import LOCAL_DIRECTORY
from sapflow.planning.grade import errors, in_outcome
from sapflow.planning.preparation import (
    OF_CONTENT,
    OF_TABLES,
    PreparationForecast,
    PreparationPlace,
    RehearsedCall,
    Shares,
    by_first_rows,
)
from sapflow.quantities.roles import Role
from sapflow.records.commits import Account, Records
from sapflow.runtimes.sender import Answered
from sapflow.spec.preparation.prepare import PrepareSpec
from sapflow.spec.training_job import TrainingJob
from sapflow.steps.observer import Observer


class PreparationForeteller(Observer):
    """Keeps what calls take, and forecasts the preparation from the first of them.

    `records` has what was forecast before, None where nothing is recorded. `begins`: no earlier driver has begun; one
    that has, and left no forecast, leaves none to be made. `of_all`: the account at the end is of earlier drivers, too.
    """

    def __init__(
        self,
        job: TrainingJob,
        observer: Observer,
        records: Records | None,
        *,
        at_once: int,
        calls_each: int,
        begins: bool,
        of_all: bool,
    ) -> None:
        self._job, self._observer, self._records = job, observer, records
        self._at_once, self._calls_each, self._begins = at_once, calls_each, begins
        self._of_all = of_all or begins
        self._calls: defaultdict[str, list[RehearsedCall]] = defaultdict(list)
        self._start = 0.0
        self._said: PreparationForecast | None = None

    def answered(self, role: Role, op: str, answer: Answered[Any]) -> None:
        moved = answer.reply.bytes
        self._calls[op].append(RehearsedCall(answer.seconds, moved.read, moved.written))
        self._start = max(self._start, answer.cold_seconds)

    async def recall(self) -> None:
        """Take in what an earlier driver has said. Raises StoreError."""
        if self._records is None:
            return
        try:
            body = await self._records.read(keys.preparation_forecast(self._records.prefix))
            self._said = None if body is None else PreparationForecast.model_validate(body)
        except (CorruptObject, ValidationError):
            # It is not written durably, and nothing but a line of text follows from it.
            self._begins = False
        if self._said is not None:
            self._observer.preparation_forecast(_summary(self._said))

    async def parsed(self, survey: SurveyReply, cut: PartitionReply, begun: BeginReply, done: int) -> None:
        """Forecast, if that was not done: so many partitions are parsed. Raises StoreError."""
        if self._said is not None or not self._begins:
            return
        job = self._job
        place = PreparationPlace(
            here=LOCAL_DIRECTORY,
            there=LOCAL_DIRECTORY,
            at_once=self._at_once,
            price=job.price,
            memory=job.memory_bytes["preparer"],
            cpus=job.cpus["preparer"],
            calls_each=self._calls_each,
            fan_in=MERGED_AT_ONCE,
            learns_order=learns_order(job.spec.data.prepare),
        )
        self._said = said = by_first_rows(
            self._calls,
            place,
            files=survey.files,
            size=survey.bytes_there,
            partitions=begun.partitions,
            parsed=done,
            to_scan=len(cut.to_scan),
            indexed_files=len(survey.to_index),
            largest_share=survey.largest / max(1, survey.bytes_there),
            passes=begun.passes,
            start_seconds=self._start,
            shares=shares_of(job.spec.data.prepare),
            seed=job.spec.algorithm.seed,
        )
        if self._records is not None:
            await self._records.write(keys.preparation_forecast(self._records.prefix), said.body())
        self._observer.preparation_forecast(_summary(said))

    async def ends(self, account: Account) -> None:
        """Grade the forecast by what all has taken, where all of it is known. Raises StoreError."""
        said = self._said
        if said is None or not self._of_all:
            return
        taken, dollars = account.seconds, account.cost_usd
        graded = {
            **_summary(said),
            **errors(said.seconds, said.cost_usd, taken, dollars),
            "measuredSeconds": taken,
            "measuredUSD": dollars,
        }
        if self._records is not None:
            await self._records.write(keys.preparation_outcome(self._records.prefix), graded)
        self._observer.preparation_forecast(graded)


def learns_order(prepare: PrepareSpec | None) -> bool:
    """Whether a step learns medians or quantiles."""
    steps = [] if prepare is None else prepare.steps or []
    return any(
        (step.impute is not None and step.impute.strategy == "Median")
        or (step.scale is not None and step.scale.method == "Robust")
        or (step.bin is not None and step.bin.quantiles is not None)
        for step in steps
    )


def shares_of(prepare: PrepareSpec | None) -> Shares:
    """What passes and blocks take beside parsing, by whether steps read texts or images."""
    steps = [] if prepare is None else prepare.steps or []
    read = any(each.bag_of_words or each.tokens or each.image for each in steps)
    return OF_CONTENT if read else OF_TABLES


async def recorded(records: Records) -> dict[str, Any] | None:
    """What the preparation of a job's data was forecast to take, with its grade once it has ended; None if nothing was
    forecast. Raises StoreError."""
    try:
        found = await records.read(keys.preparation_outcome(records.prefix))
        if found is not None:
            return dict(found)
        body = await records.read(keys.preparation_forecast(records.prefix))
        return None if body is None else _summary(PreparationForecast.model_validate(body))
    except (CorruptObject, ValidationError):
        return None


def _summary(said: PreparationForecast) -> dict[str, Any]:
    return in_outcome(said.seconds, said.cost_usd)
