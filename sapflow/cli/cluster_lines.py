"""Events of a cluster's job or search as lines of text."""

from sapflow.client import cluster_search
from sapflow.monitoring.display import Event, plain_line
from sapflow.quantities.metric import in_order, in_words
from sapflow.records.evaluations import of_held_out
from sapflow.text import dollars


def line(event: Event) -> str:
    """An event as text."""
    if event["event"] == "progress" and (held_out := of_held_out(event)):
        first = in_order(held_out)[0]
        return f"{plain_line(event)}  validation {in_words({first: held_out[first]})}"
    if event["event"] == "trials":
        cost = [dollars(event["costUSD"])] if "costUSD" in event else []
        parts = [cluster_search.trials_in_words(event), cluster_search.best_in_words(event), *cost]
        return plain_line({"event": "stage", "text": "  ".join(filter(None, parts))})
    if event["event"] not in ("condition", "warning", "happened"):
        return plain_line(event)
    head = "warning: " if event["event"] == "warning" else ""
    return plain_line({"event": "stage", "text": f"{head}{event['reason']}: {event['message']}"})
