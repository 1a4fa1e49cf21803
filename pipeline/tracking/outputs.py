"""What DVC holds of the grid's runs, as it is published."""

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
from pipeline.params import Params
from pipeline.programs import SPLITS
from pipeline.tracking.describe import identity
from pipeline.tracking.store import Point, points
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
class LearnerOutputs:
    """What DVC holds of one learner on one family: its seeds that have outputs, and their statistics."""

    family: str
    learner: str
    seeds: list[SeedOutputs]
    evaluations: Path
    metric: dict[str, Any]

    @cached_property
    def digest(self) -> str:
        """Digest of everything that is published of the learner itself."""
        return digest([digest_files([self.evaluations / name for name in EVALUATION_FILES]), self.metric])


def collect(params: Params, root: Path, family: str, learner: str) -> tuple[LearnerOutputs | None, list[RunId]]:
    """The outputs of one learner's seeds, and the runs without (current) outputs, which are named on stderr."""
    runs = [RunId(family, learner, seed) for seed in params.grid.seeds]
    evaluations = root / "data" / "evaluations" / family / learner
    try:
        accuracy, evaluated = tables.read(evaluations)
        metric = read_json(root / "data" / "metrics" / "evaluations" / f"{family}-{learner}.json")
    except UserError as error:
        _warn(f"{family}/{learner}", error)
        return None, runs
    seeds, missing = [], []
    for run in runs:
        try:
            seeds.append(_seed(params, Places(root), run, per_seed(accuracy), evaluated))
        except UserError as error:
            _warn(str(run), error)
            missing.append(run)
    return (LearnerOutputs(family, learner, seeds, evaluations, metric) if seeds else None), missing


def _seed(
    params: Params, places: Places, run: RunId, table: pd.DataFrame, evaluated: list[dict[str, Any]]
) -> SeedOutputs:
    directory = places.run(run)
    config = read_json(directory / "config.json")
    for name in ("history.parquet", "weights.safetensors"):
        if not (directory / name).exists():
            raise UserError(f"{directory / name} is missing; run `dvc repro` to make it")
    if any(config.get(key) != value for key, value in wanted(params, run.family, run.learner).items()):
        raise UserError(f"{directory} is of other settings than params.yaml; run `dvc repro`")
    if identity(config) not in [row["configuration"] for row in evaluated if row["seed"] == run.seed]:
        raise UserError("its evaluation is of another training; run `dvc repro`")
    accuracies = {split: float(table.loc[run.seed, split]) for split in SPLITS}
    return SeedOutputs(run, directory, config, accuracies)


def wanted(params: Params, family: str, learner: str) -> dict[str, Any]:
    """The part of a run's configuration that `params.yaml` alone gives."""
    return {
        "settings": params.learner(family, learner).model_dump(mode="json"),
        "training": getattr(params.training, family).model_dump(mode="json"),
        "program": getattr(params.programs, family).model_dump(mode="json"),
    }


def _warn(name: str, error: UserError) -> None:
    print(f"{name}: {error}", file=sys.stderr)
