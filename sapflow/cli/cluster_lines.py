"""Events of a cluster's job as lines of text."""

from sapflow.monitoring.display import Event, plain_line
from sapflow.text import percent


def line(event: Event) -> str:
    """An event as text."""
    if event["event"] == "progress" and "validationAccuracy" in event:
        return f"{plain_line(event)}  validation accuracy {percent(event['validationAccuracy'])}"
    if event["event"] not in ("condition", "warning", "happened"):
        return plain_line(event)
    head = "warning: " if event["event"] == "warning" else ""
    return plain_line({"event": "stage", "text": f"{head}{event['reason']}: {event['message']}"})
