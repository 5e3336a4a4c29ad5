"""The report of one job, as one page of HTML that needs no network."""

from sapflow.report.facts import Facts, gather
from sapflow.report.page import render

__all__ = ["Facts", "gather", "render"]
