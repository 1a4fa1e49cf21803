"""DVC stage evaluate@family-learner: accuracies of the grid's seeds on every split, and their statistics."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from pipeline import params
from pipeline.errors import run_main
from pipeline.evaluation.evaluate import evaluate_run
from pipeline.evaluation.statistics import metric
from pipeline.evaluation.tables import write
from pipeline.files import replacing_directory, write_json
from pipeline.training import machine
from stages import arguments


def main(argv: list[str]) -> None:
    family, learner = arguments(argv, "evaluate", "FAMILY", "LEARNER")
    settings, device = params.load(), machine.prepare()
    runs = Path("data/runs") / family / learner
    splits = Path("data/splits") / family
    # The seeds that params.yaml names, not those that lie there: a seed taken out leaves its files behind.
    evaluated = [evaluate_run(runs / str(seed), splits, device) for seed in settings.grid.seeds]
    accuracy = pd.concat([table for table, _ in evaluated], ignore_index=True)
    with replacing_directory(Path("data/evaluations") / family / learner) as directory:
        write(directory, accuracy, [run for _, run in evaluated])
    statistics = settings.evaluation
    summary = metric(accuracy, statistics.bootstrap, statistics.confidence)
    write_json(Path("data/metrics/evaluations") / f"{family}-{learner}.json", summary)


if __name__ == "__main__":
    run_main(main)
