"""Handlers that make blocks of raw data."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from sapflow.messages import preparation as messages
from sapflow.messages.replies import FunctionReply
from sapflow.messages.requests import Request
from sapflow.preparation import packed_files, passes, prepared_blocks, survey
from sapflow.preparation.needed_packages import needed_packages
from sapflow.preparation.opened import Parts, Preparations
from sapflow.timing import Timing
from sapflow_functions.runner import Context, Handler

R = TypeVar("R", bound=Request)


def handlers(parts: Parts) -> dict[str, Handler]:
    """The handlers by operation. What they keep is named by its digest, and bounded."""
    kept: dict[int, Preparations] = {}

    def serving(
        kind: type[R], serve: Callable[[Preparations, R, Timing], FunctionReply]
    ) -> Callable[[Mapping[str, Any], Context], FunctionReply]:
        def handler(body: Mapping[str, Any], context: Context) -> FunctionReply:
            preparations = kept.get(id(context.store))
            if preparations is None:
                preparations = kept[id(context.store)] = Preparations(context.store, parts)
            request = kind.model_validate(body)
            with needed_packages():
                return serve(preparations, request, Timing(context.deadline, context.cancelled))

        return handler

    return {
        "survey": serving(messages.SurveyRequest, survey.survey),
        "index": serving(messages.IndexRequest, packed_files.index),
        "partition": serving(messages.PartitionRequest, packed_files.partition),
        "scan": serving(messages.ScanRequest, survey.scan),
        "begin": serving(messages.BeginRequest, survey.begin),
        "parse": serving(messages.ParseRequest, passes.parse),
        "count": serving(messages.CountRequest, passes.count),
        "mergeStatistics": serving(messages.MergeStatisticsRequest, passes.merge),
        "advance": serving(messages.AdvanceRequest, passes.advance),
        "write": serving(messages.WriteRequest, prepared_blocks.write),
        "finish": serving(messages.FinishRequest, prepared_blocks.finish),
        "clear": serving(messages.ClearRequest, prepared_blocks.clear),
    }
