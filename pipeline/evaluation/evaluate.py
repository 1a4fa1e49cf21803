"""Accuracies of trained runs on every split, per intent, from the saved weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import torch

from pipeline.files import digest
from pipeline.programs import SPLITS
from pipeline.programs.tables import read_split
from pipeline.training.measure import measure
from pipeline.training.recipe import Recipe
from pipeline.training.run import Places, asked, load_run

COLUMNS = ["seed", "split", "intent", "kind", "examples", "solved", "loss"]


def configuration_digest(config: dict[str, Any]) -> str:
    """Digest of what determines a run's outputs: its configuration without what training found."""
    return digest(asked(config))


def evaluate(of: Recipe, places: Places, device: torch.device) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Measure the seeds that a recipe names, not those that lie there: one taken out leaves its files behind.

    Returns the tables of `evaluate_run` below each other, and what identifies each run.
    """
    runs = [places.run(run) for run in of.runs]
    evaluated = [evaluate_run(run, places.splits(of.family), device) for run in runs]
    return pd.concat([table for table, _ in evaluated], ignore_index=True), [run for _, run in evaluated]


def evaluate_run(directory: Path, splits: Path, device: torch.device) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Measure one run on all splits.

    Args:
        directory: the run's outputs, `Places.run`.
        splits: the family's splits, `data/splits/<family>`.

    Returns:
        A table with a row per split and intent (columns `COLUMNS`; `loss` is the mean), and what
        identifies the run: seed, digest of its configuration, settings, parameters, selected step.
    """
    learner, config = load_run(directory)
    learner.to(device)
    rows = []
    for name in SPLITS:
        split = read_split(splits, learner.family, name).to(device)
        u = torch.from_numpy(learner.family.codes(split.intents)).to(device)
        measured = measure(learner, u, split)
        for k, intent in enumerate(split.intents):
            n, solved = int(measured.examples[k]), int(measured.solved[k])
            loss = float(measured.loss[k] / n) if n else float("nan")
            rows.append([config["seed"], name, str(intent), intent.kind, n, solved, loss])
    run = {
        "seed": config["seed"],
        "configuration": configuration_digest(config),
        **{key: config[key] for key in ("settings", "training", "parameters", "selected", "diverged")},
    }
    return pd.DataFrame(rows, columns=COLUMNS), run
