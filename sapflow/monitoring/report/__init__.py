"""The report of a job: one page of HTML that needs no network."""

from sapflow.monitoring.report.facts import Facts, gather
from sapflow.monitoring.report.page import render

__all__ = ["Facts", "gather", "render"]
