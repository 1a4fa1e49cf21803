"""Evaluations on disk: `accuracy.csv` and `runs.json` in one directory per family and learner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.errors import UserError
from pipeline.evaluation.evaluate import COLUMNS
from pipeline.files import read_json, remedy, write_json, write_text


def write(directory: Path, accuracy: pd.DataFrame, runs: list[dict[str, Any]]) -> None:
    """Write both files; equal evaluations give equal bytes."""
    text = accuracy.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_text(directory / "accuracy.csv", text)
    write_json(directory / "runs.json", runs)


def read(directory: Path) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Read both files. Raises `UserError` if one is missing or damaged, or they name different seeds."""
    path = directory / "accuracy.csv"
    if not path.exists():
        raise UserError(f"{path} is missing; {remedy(path)}")
    try:
        accuracy = pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); {remedy(path)}") from None
    runs = read_json(directory / "runs.json")
    if list(accuracy.columns) != COLUMNS:
        raise UserError(f"{path} lacks the columns {', '.join(COLUMNS)}; {remedy(path)}")
    if not isinstance(runs, list) or not all(isinstance(run, dict) and "seed" in run for run in runs):
        raise UserError(f"{directory / 'runs.json'} does not hold runs; {remedy(directory / 'runs.json')}")
    if {run["seed"] for run in runs} != set(accuracy["seed"]):
        raise UserError(f"{path} and runs.json name different seeds; {remedy(directory)}")
    return accuracy, runs
