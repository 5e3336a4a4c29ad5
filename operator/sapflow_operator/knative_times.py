"""How long Knative lets requests take."""

ANSWER_SECONDS = 15
"""Seconds after its time limit in which a process may report it itself, before Knative aborts the request."""
START_SECONDS = 300
"""Seconds for a start, in which a node may have to pull the image. It is also Knative's default for the first byte."""
