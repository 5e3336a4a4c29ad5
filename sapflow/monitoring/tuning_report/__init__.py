"""The report of a search: one page of HTML with interactive charts that needs no network."""

from sapflow.monitoring.tuning_report.facts import SearchFacts, gather
from sapflow.monitoring.tuning_report.page import render

__all__ = ["SearchFacts", "gather", "render"]
