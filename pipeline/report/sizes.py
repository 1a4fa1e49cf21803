"""Table 4: examples of each split, ours beside the paper's."""

from __future__ import annotations

from pipeline import names
from pipeline.programs import SPLITS
from pipeline.report import anchors
from pipeline.report.evidence import Evidence
from pipeline.report.published import published
from pipeline.report.table import Column, Row, Table, Value


def table4(evidence: Evidence) -> Table:
    """Split sizes; the last column says where they are not the paper's."""
    columns = [Column("family", "family")]
    for split in SPLITS:
        columns.append(Column(split, "ours", split, ",d"))
        columns.append(Column(f"paper_{split}", "paper", split, ",d", paper=True))
    columns.append(Column("compared", "compared with the paper"))
    rows = tuple(_row(evidence, family) for family in evidence.params.grid.families)
    return Table("table4", "Table 4. Examples of each split", tuple(columns), (("", rows),), _notes(evidence))


def _row(evidence: Evidence, family: str) -> Row:
    sizes, paper = evidence.sizes.get(family), published().sizes
    row = {"family": Value(family, names.family(family).label)}
    for split in SPLITS:
        ours = Value(sizes[split]["total"], href=anchors.splits(family)) if sizes else Value()
        row[split], row[f"paper_{split}"] = ours, Value(paper.get((family, split)))
    if sizes is None:
        return row | {"compared": Value()}
    others = [split for split in SPLITS if sizes[split]["total"] != paper.get((family, split))]
    return row | {"compared": Value(f"other settings: {', '.join(others)}" if others else "as in the paper")}


def _notes(evidence: Evidence) -> tuple[str, ...]:
    if "addmod" in evidence.params.grid.families and evidence.params.programs.addmod.split == "strict":
        return (
            "addmod is generated under split: strict, where val has primes of its own, "
            "so its sizes are not the paper’s.",
        )
    return ()
