"""The worker trains and evaluates with torch. It also merges if a job reuses workers as mergers."""

import os
import sys
from collections.abc import Mapping
from typing import Any

from sapflow.messages.replies import FunctionReply
from sapflow_functions.process import serve
from sapflow_functions.runner import Context, Handler


def _load_handlers() -> Mapping[str, Handler]:
    from sapflow.training.pages import keep_freed_pages

    keep_freed_pages()
    from sapflow.messages.requests import CutRequest, EvaluateRequest, InitializeRequest, TrainRequest
    from sapflow.training import evaluate, train
    from sapflow.training.loaded import JobCache
    from sapflow_functions.roles import merging

    caches: dict[int, JobCache] = {}

    def jobs(context: Context) -> JobCache:
        found = caches.get(id(context.store))
        if found is None:
            found = JobCache(context.store, memory_bytes=context.memory_bytes, runs_on=context.runs_on)
            caches[id(context.store)] = found
        return found

    def serve_cut(body: dict[str, Any], context: Context) -> FunctionReply:
        from sapflow_functions.roles.data_cut import (
            cut_for_job,  # once in a job's life, and most workers never do
        )

        return cut_for_job(context.store, CutRequest.model_validate(body), merging.timing(context))

    def serve_ask(body: dict[str, Any], context: Context) -> FunctionReply:
        from sapflow.messages.replies import AskReply
        from sapflow.messages.requests import AskRequest
        from sapflow.tuning.samplers.remote import answer  # only searches with such a sampler need it

        timing = merging.timing(context)
        with timing.phase("compute"):
            found = answer(AskRequest.model_validate(body).question)
        parameters, notes = dict(found.parameters), dict(found.notes)
        return AskReply(done=True, parameters=parameters, notes=notes, **timing.report())

    def serve_measure(body: dict[str, Any], context: Context) -> FunctionReply:
        from sapflow.messages.replies import MeasureReply
        from sapflow.messages.requests import MeasureRequest
        from sapflow.training.measure import model_sizes  # only the forecast of a search needs it

        timing = merging.timing(context)
        with timing.phase("compute"):
            sizes = model_sizes(context.store, MeasureRequest.model_validate(body))
        return MeasureReply(done=True, sizes=sizes, **timing.report())

    def serve_initialize(body: dict[str, Any], context: Context) -> FunctionReply:
        request = InitializeRequest.model_validate(body)
        cache = jobs(context)
        answer = train.initialize(context.store, cache, request, merging.timing(context))
        if request.estimate:
            from sapflow.training.estimate import worker_needs  # imported here because few calls need it

            loaded = cache.get(request.spec, request.manifest)
            needed = worker_needs(loaded.job, loaded.manifest).total
            answer = answer.model_copy(update={"memory_needed_bytes": needed})
        if request.count_flops:
            from sapflow.training.estimate import forward_flops  # imported here because few calls need it

            loaded = cache.get(request.spec, request.manifest)
            answer = answer.model_copy(update={"forward_flops": forward_flops(loaded.job, loaded.manifest)})
        return answer

    def serve_train(body: dict[str, Any], context: Context) -> FunctionReply:
        request = TrainRequest.model_validate(body)
        cache = jobs(context)
        return train.train(context.store, context.channels, cache, request, merging.timing(context))

    def serve_evaluate(body: dict[str, Any], context: Context) -> FunctionReply:
        request = EvaluateRequest.model_validate(body)
        return evaluate.evaluate(context.store, jobs(context), request, merging.timing(context))

    def serve_keep(body: dict[str, Any], context: Context) -> FunctionReply:
        from sapflow.messages.requests import KeepRequest
        from sapflow.serving.golden_outputs import keep  # once in a job's life

        return keep(context.store, jobs(context), KeepRequest.model_validate(body), merging.timing(context))

    return {
        **merging.handlers(),
        "ask": serve_ask,
        "cut": serve_cut,
        "measure": serve_measure,
        "initialize": serve_initialize,
        "keep": serve_keep,
        "train": serve_train,
        "evaluate": serve_evaluate,
    }


def main() -> int:
    """Serve until told to stop."""
    return serve("worker", _load_handlers, sys.argv[1:], os.environ)


if __name__ == "__main__":
    sys.exit(main())
