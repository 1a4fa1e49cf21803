"""The whole report in one directory: `index.html`, `tables/`, `figures/`, `analyses/`."""

from __future__ import annotations

from pathlib import Path

from pipeline.files import replacing_directory, write_text
from pipeline.report.ablations import table5
from pipeline.report.accuracies import table2, table3
from pipeline.report.budgets import budgets
from pipeline.report.evidence import Evidence, gather
from pipeline.report.figures import draw, series
from pipeline.report.mechanisms import mechanisms
from pipeline.report.page import render
from pipeline.report.sizes import table4
from pipeline.report.source import Source
from pipeline.report.table import Table, to_csv, to_latex, to_markdown

FORMATS = {"csv": to_csv, "md": to_markdown, "tex": to_latex}


def build(source: Source, output: Path) -> None:
    """Write the report of `source` to the directory `output`, whole or not at all. Equal inputs give equal bytes.

    Raises `UserError` if an input is damaged, or is missing and the source is to be complete.
    """
    files = contents(source)
    with replacing_directory(output) as directory:
        for name, text in files.items():
            write_text(directory / name, text)


def check(source: Source, output: Path) -> list[str]:
    """Make the report of `source` again, writing nothing, and name the files of `output` that differ from it.

    A file that is missing differs, and so does one that the report does not have.
    """
    files = contents(source)
    there = {path.relative_to(output).as_posix(): path for path in output.rglob("*") if path.is_file()}
    same = {name for name, text in files.items() if name in there and there[name].read_bytes() == text.encode()}
    return sorted({*files, *there} - same)


def contents(source: Source) -> dict[str, str]:
    """The report's files: their paths within it, and their text."""
    evidence = gather(source)
    tables, figures, graphs = all_tables(evidence), _figures(evidence), _graphs(evidence)
    found = mechanisms(evidence)
    files = {f"tables/{table.name}.{kind}": write(table) for table in tables for kind, write in FORMATS.items()}
    files |= {f"figures/{family}.svg": svg for family, svg in figures.items()}
    files |= {path: text for mechanism in found for path, text in mechanism.files.items()}
    return files | {"index.html": render(evidence, tables, figures, graphs, found)}


def all_tables(evidence: Evidence) -> list[Table]:
    """The report's tables; by kind of program only where the grid holds arc1d, of ablations where there are any."""
    by_kind = [table3(evidence)] if "arc1d" in evidence.params.grid.families else []
    ablated = [table5(evidence)] if evidence.params.ablations.families else []
    return [table2(evidence), *by_kind, table4(evidence), *ablated, budgets(evidence)]


def _figures(evidence: Evidence) -> dict[str, str]:
    """A figure for each family that has a run."""
    shown = {family: series(evidence, family) for family in evidence.params.grid.families}
    return {family: draw(family, every) for family, every in shown.items() if every}


def _graphs(evidence: Evidence) -> dict[str, str]:
    """The drawings of neural graphs that are there."""
    paths = {family: evidence.source.graphs / family / "graph.svg" for family in evidence.params.grid.families}
    return {family: path.read_text(encoding="utf-8") for family, path in paths.items() if path.exists()}
