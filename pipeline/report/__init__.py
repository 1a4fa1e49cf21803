"""The paper's tables and figures, and one page that shows them with the runs behind every number."""

from pipeline.report.build import build, check
from pipeline.report.source import Source, current, paper

__all__ = ["Source", "build", "check", "current", "paper"]
