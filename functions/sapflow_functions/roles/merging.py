"""Handlers that need only numpy: merging, the root, export, copies. Mergers serve them, and workers that are reused."""

from typing import Any

from sapflow.algorithms.export import export
from sapflow.algorithms.merge import Workspace, merge
from sapflow.algorithms.root import Warm, root
from sapflow.messages.replies import CopyReply, ExportReply, MergeReply, RootReply
from sapflow.messages.requests import CopyRequest, ExportRequest, MergeRequest, RootRequest
from sapflow.objects.copied import copy
from sapflow.timing import Timing
from sapflow_functions.runner import Context, Handler


def handlers() -> dict[str, Handler]:
    """The handlers by operation. Their caches are keyed by object and bounded."""
    warm, workspace = Warm(), Workspace()

    def serve_merge(body: dict[str, Any], context: Context) -> MergeReply:
        return merge(
            context.store, context.channels, MergeRequest.model_validate(body), workspace, timing(context)
        )

    def serve_root(body: dict[str, Any], context: Context) -> RootReply:
        return root(context.store, context.channels, RootRequest.model_validate(body), warm, timing(context))

    def serve_export(body: dict[str, Any], context: Context) -> ExportReply:
        return export(context.store, ExportRequest.model_validate(body), workspace, timing(context))

    def serve_copy(body: dict[str, Any], context: Context) -> CopyReply:
        return copy(context.store, CopyRequest.model_validate(body), timing(context))

    return {"merge": serve_merge, "root": serve_root, "export": serve_export, "copy": serve_copy}


def timing(context: Context) -> Timing:
    """The timing of a call."""
    return Timing(context.deadline, context.cancelled)
