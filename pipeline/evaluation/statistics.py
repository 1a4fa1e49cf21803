"""Accuracies over seeds: best by val, median, mean with a bootstrap interval."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from pipeline.programs import SPLITS


@dataclass(frozen=True)
class Statistics:
    """Accuracy of one split over seeds. `best` is the seed that val selects, whatever the split."""

    seeds: int
    best: float
    median: float
    mean: float
    low: float
    high: float


def per_seed(accuracy: pd.DataFrame) -> pd.DataFrame:
    """Solved share of all examples: a row per seed, a column per split."""
    sums = accuracy.groupby(["seed", "split"])[["examples", "solved"]].sum()
    table = (sums["solved"] / sums["examples"]).unstack("split")
    return table[list(SPLITS)].sort_index()


def val_loss(accuracy: pd.DataFrame) -> pd.Series:
    """Mean val loss of each seed over examples; NaN where a loss of examples is NaN."""
    val = accuracy[(accuracy["split"] == "val") & (accuracy["examples"] > 0)]
    weighted = (val["loss"] * val["examples"]).groupby(val["seed"]).sum(skipna=False)
    return weighted / val.groupby("seed")["examples"].sum()


def best_seed(accuracy: pd.DataFrame) -> int:
    """The seed with the highest val accuracy; then the lowest val loss; then the lowest number. Reads val only."""
    val = accuracy[accuracy["split"] == "val"]
    sums = val.groupby("seed")[["examples", "solved"]].sum()
    order = pd.DataFrame({"accuracy": -sums["solved"] / sums["examples"], "loss": val_loss(accuracy)})
    return int(order.sort_values(["accuracy", "loss"], kind="stable").index[0])


def summarise(accuracy: pd.DataFrame, resamples: int, confidence: float) -> dict[str, Statistics]:
    """Statistics of each split. The interval is the percentile bootstrap of the mean over seeds."""
    table, best = per_seed(accuracy), best_seed(accuracy)
    return {
        split: _statistics(table[split].to_numpy(), float(table.loc[best, split]), resamples, confidence)
        for split in SPLITS
    }


def _statistics(values: np.ndarray, best: float, resamples: int, confidence: float) -> Statistics:
    rng = np.random.Generator(np.random.PCG64(0))
    means = values[rng.integers(0, len(values), (resamples, len(values)))].mean(1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Statistics(len(values), best, float(np.median(values)), float(values.mean()), float(low), float(high))


def metric(accuracy: pd.DataFrame, resamples: int, confidence: float) -> dict[str, object]:
    """The summary as a DVC metric: best seed by val, and statistics of each split, rounded to 6 places."""
    splits = {
        split: {key: round(value, 6) for key, value in asdict(statistics).items()}
        for split, statistics in summarise(accuracy, resamples, confidence).items()
    }
    return {"best_seed": best_seed(accuracy), **splits}
