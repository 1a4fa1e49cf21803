"""Tables 2 and 3: accuracies of the best seed by val and their statistics over seeds, ours beside the paper's."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline import names
from pipeline.evaluation.statistics import summarise
from pipeline.report import anchors
from pipeline.report.evidence import Cell, Evidence
from pipeline.report.published import KINDS, published
from pipeline.report.table import BEST, Column, Row, Table, Value, ranked

ACCURACY = ".3f"
SPLITS = ("train", "test", "ood")  # of the paper's Table 2


def table2(evidence: Evidence) -> Table:
    """Best seed by val: train, test and ood; median, mean and bootstrap interval of ood over seeds."""
    percent = f"{evidence.params.evaluation.confidence:.0%}".replace("%", " %")
    columns = [
        Column("family", "family", shown=False),
        Column("learner", "learner"),
        Column("seeds", "seeds", format=",d"),
        Column("seeds_wanted", "seeds wanted", shown=False),
        Column("best_seed", "best seed", format="d"),
    ]
    for split in SPLITS:
        columns.append(Column(split, "ours", split, ACCURACY))
        columns.append(Column(f"paper_{split}", "paper", split, ACCURACY, paper=True))
    columns += [
        Column("ood_median", "median", "ood over seeds", ACCURACY),
        Column("ood_mean", "mean", "ood over seeds", ACCURACY),
        Column("ood_low", "low", shown=False),
        Column("ood_high", "high", shown=False),
        Column("ood_interval", f"{percent} interval", "ood over seeds", ACCURACY, csv=False),
    ]
    ranks = [column for column in columns if column.key in ("ood", "paper_ood")]
    groups = []
    for family in evidence.params.grid.families:
        rows = [_row2(evidence, family, learner) for learner in evidence.learners(family)]
        groups.append((names.family(family).label, ranked(rows, ranks)))
    cells = ((f"{names.learner(n).label} on {names.family(f).label}", cell) for (f, n), cell in evidence.cells.items())
    notes = remarks(evidence, cells)
    return Table("table2", "Table 2. Accuracy of the best seed", tuple(columns), tuple(groups), notes)


def table3(evidence: Evidence) -> Table:
    """arc1d by kind of program: test and ood of the best seed."""
    present = evidence.present("arc1d")
    found = sorted({str(kind) for cell in present for kind in cell.accuracy["kind"]} - set(KINDS))
    columns = [
        Column("learner", "learner"),
        Column("seeds", "seeds", format=",d"),
        Column("seeds_wanted", "seeds wanted", shown=False),
        Column("best_seed", "best seed", format="d"),
        Column("split", "split", shown=False),
    ]
    for kind in (*KINDS, *found):
        columns.append(Column(kind, "ours", kind, ACCURACY))
        columns.append(Column(f"paper_{kind}", "paper", kind, ACCURACY, paper=True))
    numbers = [column for column in columns if column.group]
    groups = []
    for split in ("test", "ood"):
        rows = [_row3(evidence, name, split, numbers) for name in evidence.learners("arc1d")]
        groups.append((split, ranked(rows, numbers if split == "ood" else [], [BEST])))
    return Table("table3", "Table 3. arc1d by kind of program, best seed", tuple(columns), tuple(groups))


def _row2(evidence: Evidence, family: str, learner: str) -> Row:
    cell, paper = evidence.cells.get((family, learner)), published().accuracy
    row = {
        "family": Value(family),
        **_who(evidence, family, learner),
        **{f"paper_{split}": Value(paper.get((family, learner, split))) for split in SPLITS},
        **{key: Value() for key in (*SPLITS, "ood_median", "ood_mean", "ood_low", "ood_high", "ood_interval")},
    }
    if cell is None:
        return row
    settings = evidence.params.evaluation
    summary = summarise(cell.accuracy, settings.bootstrap, settings.confidence)
    ood, runs = summary["ood"], anchors.runs(family, learner)
    for split in SPLITS:
        row[split] = Value(summary[split].best, href=anchors.run(family, learner, cell.best))
    row["ood_median"], row["ood_mean"] = Value(ood.median, href=runs), Value(ood.mean, href=runs)
    if ood.seeds > 1:  # one seed says nothing of the spread
        row["ood_low"], row["ood_high"] = Value(ood.low), Value(ood.high)
        row["ood_interval"] = Value(text=f"{ood.low:{ACCURACY}} – {ood.high:{ACCURACY}}", href=runs)
    return row


def _row3(evidence: Evidence, learner: str, split: str, numbers: list[Column]) -> Row:
    cell, paper = evidence.cells.get(("arc1d", learner)), published().kinds
    row = {**_who(evidence, "arc1d", learner), "split": Value(split)}
    for column in numbers:
        row[column.key] = Value(paper.get((learner, split, column.group))) if column.paper else Value()
    if cell is not None:
        for kind, share in _by_kind(cell, split).items():
            row[kind] = Value(share, href=anchors.run("arc1d", learner, cell.best))
    return row


def _by_kind(cell: Cell, split: str) -> dict[str, float]:
    """Solved share of the best seed's examples of each kind."""
    rows = cell.accuracy[(cell.accuracy["seed"] == cell.best) & (cell.accuracy["split"] == split)]
    sums = rows.groupby("kind")[["examples", "solved"]].sum()
    sums = sums[sums["examples"] > 0]
    return {str(kind): float(share) for kind, share in (sums["solved"] / sums["examples"]).items()}


def _who(evidence: Evidence, family: str, learner: str) -> Row:
    """Learner, how many of its seeds there are, and the best one."""
    cell, grid = evidence.cells.get((family, learner)), evidence.params.grid
    wanted = len(grid.all_seeds) if learner in grid.learners else 0
    count = len(cell.runs) if cell else 0
    runs = anchors.runs(family, learner) if cell else ""
    mark = " †" if cell and cell.changed else ""
    return {
        "learner": Value(learner, names.learner(learner).label + mark),
        "seeds": Value(count, "" if count == wanted else f"{count} of {wanted}", runs),
        "seeds_wanted": Value(wanted),
        "best_seed": Value(cell.best, href=anchors.run(family, learner, cell.best)) if cell else Value(),
    }


def remarks(evidence: Evidence, cells: Iterable[tuple[str, Cell]]) -> tuple[str, ...]:
    """A note for each named cell whose runs have other settings than the settings file, or diverged."""
    notes = []
    for name, cell in cells:
        if cell.changed:
            notes.append(
                f"† {name} was trained with settings that {evidence.source.settings_name} has otherwise now: "
                f"{', '.join(cell.changed)}. Its own settings stand with its runs."
            )
        diverged = [seed for seed, run in cell.runs.items() if run.diverged]
        if diverged:
            seeds = ", ".join(map(str, diverged))
            notes.append(f"{name}: the loss diverged with seed {seeds}; the best weights until then count.")
    return tuple(notes)
