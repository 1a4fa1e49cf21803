"""What DVC holds of the runs of the grid and of the ablations, as it is published."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.errors import UserError
from pipeline.evaluation import tables
from pipeline.evaluation.statistics import per_seed
from pipeline.files import digest, digest_files, read_json, read_parquet
from pipeline.programs import SPLITS
from pipeline.tracking.describe import identity
from pipeline.tracking.store import Point, points
from pipeline.training.recipe import Recipe
from pipeline.training.run import Places, RunId

RUN_FILES = ("weights.safetensors", "config.json")
EVALUATION_FILES = ("accuracy.csv", "runs.json")


@dataclass(frozen=True)
class SeedOutputs:
    """What DVC holds of one run."""

    run: RunId
    directory: Path
    config: dict[str, Any]
    accuracies: dict[str, float]

    @cached_property
    def digest(self) -> str:
        """Digest of everything that is published of the run."""
        names = (*RUN_FILES, "history.parquet")
        return digest([digest_files([self.directory / name for name in names]), self.accuracies])

    @cached_property
    def points(self) -> dict[Point, float]:
        """The history and the final metrics."""
        rows = read_parquet(self.directory / "history.parquet").to_pylist()
        history = {point: value for row in rows for point, value in points(row).items()}
        final = {(f"accuracy/{split}", 0): value for split, value in self.accuracies.items()}
        return history | final | {("curve/selected_step", 0): float(self.config["selected"]["step"])}


@dataclass(frozen=True)
class RecipeOutputs:
    """What DVC holds of one recipe: its seeds that have outputs, and their statistics."""

    study: str
    name: str
    seeds: list[SeedOutputs]
    evaluations: Path
    metric: dict[str, Any]

    @cached_property
    def digest(self) -> str:
        """Digest of everything that is published of the recipe itself."""
        return digest([digest_files([self.evaluations / name for name in EVALUATION_FILES]), self.metric])


def collect(of: Recipe, root: Path) -> tuple[RecipeOutputs | None, list[RunId]]:
    """The outputs of one recipe's seeds, and the runs without (current) outputs, which are named on stderr."""
    runs = list(of.runs)
    evaluations = root / "data" / "evaluations" / str(of)
    try:
        accuracy, evaluated = tables.read(evaluations)
        metric = _metric(of, root / "data" / "metrics" / "evaluations")
    except UserError as error:
        _warn(str(of), error)
        return None, runs
    seeds, missing = [], []
    for run in runs:
        try:
            seeds.append(_seed(of, Places(root), run, per_seed(accuracy), evaluated))
        except UserError as error:
            _warn(str(run), error)
            missing.append(run)
    return (RecipeOutputs(of.study, of.name, seeds, evaluations, metric) if seeds else None), missing


def _metric(of: Recipe, metrics: Path) -> dict[str, Any]:
    """The statistics over seeds: a file a learner in the grid, one for all variants in the ablations."""
    if not of.ablated:
        return read_json(metrics / f"{of.study}-{of.name}.json")
    path = metrics / f"{of.study}.json"
    every = read_json(path)
    if of.name not in every:
        raise UserError(f"{path} lacks {of.name}; run `dvc repro`")
    return every[of.name]


def _seed(of: Recipe, places: Places, run: RunId, table: pd.DataFrame, evaluated: list[dict[str, Any]]) -> SeedOutputs:
    directory = places.run(run)
    config = read_json(directory / "config.json")
    for name in ("history.parquet", "weights.safetensors"):
        if not (directory / name).exists():
            raise UserError(f"{directory / name} is missing; run `dvc repro` to make it")
    if any(config.get(key) != value for key, value in of.values().items()):
        raise UserError(f"{directory} is of other settings than params.yaml; run `dvc repro`")
    if identity(config) not in [row["configuration"] for row in evaluated if row["seed"] == run.seed]:
        raise UserError("its evaluation is of another training; run `dvc repro`")
    accuracies = {split: float(table.loc[run.seed, split]) for split in SPLITS}
    return SeedOutputs(run, directory, config, accuracies)


def _warn(name: str, error: UserError) -> None:
    print(f"{name}: {error}", file=sys.stderr)
