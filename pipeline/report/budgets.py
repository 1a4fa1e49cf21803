"""Parameters of the learners, trained and frozen apart, beside the budget and the paper's count (App. C.4)."""

from __future__ import annotations

from pipeline import names
from pipeline.report import anchors
from pipeline.report.evidence import Evidence
from pipeline.report.published import published
from pipeline.report.table import Column, Row, Table, Value

PERCENT = "+z.1f"  # z: what rounds to zero has no minus


def budgets(evidence: Evidence) -> Table:
    """Trainable parameters, frozen buffers, the settings' budget, the paper's count, and differences in %."""
    columns = (
        Column("family", "family", shown=False),
        Column("learner", "learner"),
        Column("trainable", "trainable", "ours", ",d"),
        Column("frozen", "frozen", "ours", ",d"),
        Column("budget", "budget", "settings", ",d"),
        Column("budget_difference_percent", "difference, %", "settings", PERCENT),
        Column("paper", "trainable", "paper", ",d", paper=True),
        Column("paper_difference_percent", "difference, %", "paper", PERCENT, paper=True),
    )
    groups = tuple(
        (names.family(family).label, tuple(_row(evidence, family, name) for name in evidence.learners(family)))
        for family in evidence.params.grid.families
    )
    notes = (
        "Frozen: buffers that are drawn or computed once and never trained. "
        "Differences are of our trainable parameters to the budget and to the paper's count.",
    )
    return Table("budgets", "Parameter budgets", columns, groups, notes)


def _row(evidence: Evidence, family: str, learner: str) -> Row:
    cell = evidence.cells.get((family, learner))
    runs = anchors.runs(family, learner) if cell else ""
    counted = cell.any_run.parameters if cell else None
    trainable = counted.trainable if counted else None
    budget, paper = _budget(evidence, family, learner), published().parameters.get((family, learner))
    return {
        "family": Value(family),
        "learner": Value(learner, names.learner(learner).label),
        "trainable": Value(trainable, href=runs),
        "frozen": Value(counted.frozen if counted else None, href=runs),
        "budget": Value(budget, href=runs),
        "budget_difference_percent": Value(_difference(trainable, budget)),
        "paper": Value(paper),
        "paper_difference_percent": Value(_difference(trainable, paper)),
    }


def _budget(evidence: Evidence, family: str, learner: str) -> int | None:
    """The budget with which the runs were made, or that of the settings where there are no runs."""
    cell = evidence.cells.get((family, learner))
    if cell:
        budget = cell.any_run.settings.get("budget")
    elif learner in evidence.params.grid.learners:
        budget = evidence.params.learner(family, learner).budget
    else:
        budget = None
    return budget if isinstance(budget, int) else None


def _difference(ours: int | None, other: int | None) -> float | None:
    """How much more ours is, in % of the other."""
    return None if ours is None or not other else 100 * (ours / other - 1)
