"""Outputs as the stages leave them, without training; live runs without a process; what MLflow holds."""

from __future__ import annotations

import math
import time
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.evaluation.statistics import metric
from pipeline.evaluation.tables import write
from pipeline.files import write_json, write_parquet
from pipeline.params import Params
from pipeline.programs import SPLITS
from pipeline.tracking import Follower
from pipeline.tracking.describe import identity
from pipeline.tracking.store import RUN, Store
from pipeline.tracking.stream import Live, by_seed
from pipeline.training.recipe import Recipe, recipes
from pipeline.training.run import Places, RunId, configuration, history_table
from tests.helpers import file_bytes

FAMILY, LEARNER = "sumfirst", "meta_mlp"
FIRST = RunId(FAMILY, LEARNER, 0)
STEPS = (0, 5, 10, 12)
Dump = dict[str, dict[str, Any]]


def row(seed: int, step: int) -> dict[str, float]:
    loss = math.nan if step == 0 else 1 / (step + seed)
    return {
        "step": step,
        "loss": loss,
        "val_accuracy": step / 100 + seed / 1000,
        "val_loss": 2.5,
        "std.W_0": 0.1 * step,
    }


def history(seed: int) -> list[dict[str, float]]:
    return [row(seed, step) for step in STEPS]


def config_of(params: Params, run: RunId) -> dict[str, Any]:
    results = {"selected": {"step": 10, "val_accuracy": 0.1, "val_loss": 2.5}, "diverged": False}
    return configuration(params, run, Places()) | results | {"parameters": {"trainable": 7, "frozen": 0}}


def write_run(
    params: Params, run: RunId, rows: list[dict[str, float]] | None = None, weights: bytes = b"weights"
) -> None:
    """What `train` leaves, without training."""
    directory = Places().run(run)
    write_json(directory / "config.json", config_of(params, run))
    write_parquet(directory / "history.parquet", history_table(rows or history(run.seed)))
    (directory / "weights.safetensors").write_bytes(weights + bytes([run.seed]))


def write_evaluations(params: Params) -> None:
    """What evaluation leaves, without evaluating: seed 1 is better than seed 0."""
    metrics = Path("data/metrics/evaluations")
    for study, all_of in groupby(recipes(params), lambda of: of.study):
        summaries = {of.name: _evaluation(of, params) for of in all_of}
        if study == FAMILY:
            for name, summary in summaries.items():
                write_json(metrics / f"{study}-{name}.json", summary)
        else:
            write_json(metrics / f"{study}.json", summaries)


def _evaluation(of: Recipe, params: Params) -> dict[str, Any]:
    """Write one recipe's evaluations; returns their statistics."""
    rows = [
        [seed, split, "n = 1", "", 10, 4 + seed + place, 0.5] for seed in of.seeds for place, split in enumerate(SPLITS)
    ]
    accuracy = pd.DataFrame(rows, columns=["seed", "split", "intent", "kind", "examples", "solved", "loss"])
    runs = [{"seed": run.seed, "configuration": identity(config_of(params, run))} for run in of.runs]
    write(Path("data/evaluations") / str(of), accuracy, runs)
    return metric(accuracy, params.evaluation.bootstrap, params.evaluation.confidence)


def write_outputs(params: Params) -> None:
    for of in recipes(params):
        for run in of.runs:
            write_run(params, run)
    write_evaluations(params)


def dump() -> Dump:
    """Everything that MLflow holds, by run id."""
    from mlflow.entities import ViewType

    client, found = Store.connect().client, {}
    experiments = [e.experiment_id for e in client.search_experiments(ViewType.ALL)]
    for run in client.search_runs(experiments, run_view_type=ViewType.ALL):
        histories = {key: client.get_metric_history(run.info.run_id, key) for key in run.data.metrics}
        place = Path(run.info.artifact_uri.removeprefix("file://"))
        found[run.info.run_id] = {
            "info": dict(run.info),
            "tags": run.data.tags,
            "params": run.data.params,
            "points": {k: [(m.step, m.value, m.timestamp) for m in values] for k, values in histories.items()},
            "artefacts": file_bytes(place) if place.exists() else {},
        }
    return found


def named(found: Dump, name: str) -> list[dict[str, Any]]:
    return [run for run in found.values() if run["tags"][RUN] == name]


def curve(run: dict[str, Any], key: str) -> list[tuple[int, float]]:
    return sorted((step, value) for step, value, _ in run["points"][key])


def header(params: Params, run: RunId) -> dict[str, Any]:
    return by_seed(Follower(run, params)._header())[run.seed]


def live(params: Params, steps: tuple[int, ...], run: RunId = FIRST) -> Live:
    """Log these steps as a follower's process would."""
    opened = Live.open(Store.connect(), header(params, run), {}, steps[0])
    opened.log([(run.seed, time.time(), row(run.seed, step)) for step in steps])
    return opened
