"""The paper's tables and figures, and one page that shows them with the runs behind every number."""

from pathlib import Path

from pipeline.report.build import build, check
from pipeline.report.source import Source, current, paper

# What each report is made of, and where it goes.
REPORTS = {"current": (current, Path("reports")), "paper": (paper, Path("results/paper/report"))}

__all__ = ["REPORTS", "Source", "build", "check", "current", "paper"]
