"""DVC stage evaluate@family-learner: accuracies of the grid's seeds on every split, and their statistics."""

from __future__ import annotations

from pathlib import Path

from pipeline import params
from pipeline.errors import run_main
from pipeline.evaluation.evaluate import evaluate
from pipeline.evaluation.statistics import metric
from pipeline.evaluation.tables import write
from pipeline.files import replacing_directory, write_json
from pipeline.training import machine
from pipeline.training.recipe import recipe
from pipeline.training.run import Places
from stages import arguments


def main(argv: list[str]) -> None:
    family, learner = arguments(argv, "evaluate", "FAMILY", "LEARNER")
    settings, device = params.load(), machine.prepare()
    accuracy, runs = evaluate(recipe(settings, family, learner), Places(), device)
    with replacing_directory(Path("data/evaluations") / family / learner) as directory:
        write(directory, accuracy, runs)
    statistics = settings.evaluation
    summary = metric(accuracy, statistics.bootstrap, statistics.confidence)
    write_json(Path("data/metrics/evaluations") / f"{family}-{learner}.json", summary)


if __name__ == "__main__":
    run_main(main)
