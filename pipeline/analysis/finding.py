"""What one analysis found: sentences, numbers, tables and figures, in memory and on disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.errors import UserError
from pipeline.files import read_json, write_json, write_text


class DoesNotApply(Exception):
    """Why an analysis says nothing of a subject, as a sentence."""


@dataclass(frozen=True)
class Finding:
    """The outcome of one analysis.

    Args:
        name: that of its module, and of its directory.
        title: heading on the page.
        text: sentences, each with what was found and what that means.
        numbers: what others may compare, flat; JSON-able.
        tables: by name, each with its caption in `captions`.
        figures: SVG by name, each with its caption in `captions`.
        programs: plain Python by name, each with its caption in `captions`.
        applies: False if it says only why there is nothing to say.
    """

    name: str
    title: str
    text: tuple[str, ...] = ()
    numbers: dict[str, float | int | str | None] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    figures: dict[str, str] = field(default_factory=dict)
    captions: dict[str, str] = field(default_factory=dict)
    programs: dict[str, str] = field(default_factory=dict)
    applies: bool = True


# Digits kept: more differ between machines, and say nothing.
PRECISION = 6


def write(directory: Path, finding: Finding) -> None:
    """Write `finding.json`, `<table>.csv`, `<figure>.svg` and `<program>.py` to `directory`."""
    directory.mkdir(parents=True)
    for name, text in files(finding).items():
        write_text(directory / name, text)
    write_json(directory / "finding.json", _said(finding))


def files(finding: Finding) -> dict[str, str]:
    """Its tables, figures and programs as text, by file name."""
    tables = {
        f"{name}.csv": table.to_csv(index=False, float_format=f"%.{PRECISION}g", lineterminator="\n")
        for name, table in finding.tables.items()
    }
    figures = {f"{name}.svg": svg for name, svg in finding.figures.items()}
    return tables | figures | {f"{name}.py": text for name, text in finding.programs.items()}


def read(directory: Path) -> Finding:
    """What `write` wrote. Raises `UserError` if a file is missing or damaged."""
    said = read_json(directory / "finding.json")
    try:
        tables = {name: pd.read_csv(directory / f"{name}.csv") for name in said.pop("tables")}
        figures = {name: (directory / f"{name}.svg").read_text(encoding="utf-8") for name in said.pop("figures")}
        programs = {name: (directory / f"{name}.py").read_text(encoding="utf-8") for name in said.pop("programs")}
        return Finding(**{**said, "text": tuple(said["text"])}, tables=tables, figures=figures, programs=programs)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{directory}/finding.json is not an analysis ({error}); make it again") from None


def _said(finding: Finding) -> dict[str, Any]:
    return {
        "name": finding.name,
        "title": finding.title,
        "text": list(finding.text),
        "numbers": {name: _rounded(value) for name, value in finding.numbers.items()},
        "captions": finding.captions,
        "applies": finding.applies,
        "tables": list(finding.tables),
        "figures": list(finding.figures),
        "programs": list(finding.programs),
    }


def _rounded(value: float | int | str | None) -> float | int | str | None:
    """JSON has no NaN; it is written as null."""
    if not isinstance(value, float):
        return value
    return None if value != value else float(f"{value:.{PRECISION}g}")
