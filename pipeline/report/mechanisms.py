"""What the analyses found, for the page: of each family, the best run of each meta-learner, then all runs."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from pipeline import names
from pipeline.analysis.analyse import ANALYSES, COMPARISON
from pipeline.analysis.finding import Finding, files, read
from pipeline.errors import UserError
from pipeline.report.evidence import Evidence
from pipeline.report.table import Column, Value

# Of a table on the page; its file has all.
MOST_ROWS = 40


@dataclass(frozen=True)
class Mechanism:
    """The findings on one run, or on all runs of a family. `place`: its directory below the family's."""

    family: str
    place: str
    label: str
    findings: tuple[Finding, ...]

    def file(self, finding: Finding, name: str) -> str:
        """Where the report has a file of a finding."""
        return f"analyses/{self.family}/{finding.name if self.place == '.' else f'{self.place}/{finding.name}'}/{name}"

    @property
    def files(self) -> dict[str, str]:
        """Every table, figure and program, by its path within the report."""
        return {self.file(one, name): text for one in self.findings for name, text in files(one).items()}


def mechanisms(evidence: Evidence) -> list[Mechanism]:
    """All that is there, in the order of the page.

    Raises `UserError` for a damaged file, and, if the source is to be complete, for a missing one.
    """
    return [found for family in evidence.params.grid.families for found in _family(evidence, family)]


def _family(evidence: Evidence, family: str) -> list[Mechanism]:
    learners = [name for name in evidence.params.grid.learners if name.startswith("meta_")]
    places = [(name, names.learner(name).label, tuple(ANALYSES)) for name in names.ordered_learners(set(learners))]
    found = (_mechanism(evidence, family, *each) for each in [*places, (".", COMPARISON[1], (COMPARISON[0],))])
    return [one for one in found if one is not None]


def _mechanism(evidence: Evidence, family: str, place: str, label: str, findings: tuple[str, ...]) -> Mechanism | None:
    directory = evidence.source.analyses / family / place
    missing = [name for name in findings if not (directory / name / "finding.json").exists()]
    if missing and evidence.source.complete:
        raise UserError(f"{directory / missing[0]} is missing; run `dvc repro analyze@{family}`")
    if len(missing) == len(findings):
        return None
    there = tuple(read(directory / name) for name in findings if name not in missing)
    return Mechanism(family, place, label, there)


def cells(table: pd.DataFrame) -> tuple[list[Column], list[dict[str, Value]]]:
    """A table of a finding as the page's columns and its first `MOST_ROWS` rows."""
    columns = [Column(str(name), str(name), format=_format(table[name])) for name in table]
    rows = [{str(name): _value(cell) for name, cell in row.items()} for row in table.head(MOST_ROWS).to_dict("records")]
    return columns, rows


def _format(values: pd.Series) -> str:
    if pd.api.types.is_bool_dtype(values) or not pd.api.types.is_numeric_dtype(values):
        return ""
    return ",d" if pd.api.types.is_integer_dtype(values) else ".4g"


def _value(cell: object) -> Value:
    if isinstance(cell, bool):
        return Value(text="yes" if cell else "no")
    if isinstance(cell, float) and cell != cell:
        return Value()
    return Value(cell) if isinstance(cell, (int, float)) else Value(str(cell))
