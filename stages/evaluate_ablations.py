"""DVC stage evaluate_ablations@family: accuracies of every row of Table 5 in one process, and their statistics."""

from __future__ import annotations

from pathlib import Path

from pipeline import params
from pipeline.errors import run_main
from pipeline.evaluation.evaluate import evaluate
from pipeline.evaluation.statistics import metric
from pipeline.evaluation.tables import write
from pipeline.files import replacing_directory, write_json
from pipeline.training import machine
from pipeline.training.recipe import ABLATIONS, ablations
from pipeline.training.run import Places
from stages import arguments


def main(argv: list[str]) -> None:
    (family,) = arguments(argv, "evaluate_ablations", "FAMILY")
    settings, device, summaries = params.load(), machine.prepare(), {}
    study, statistics = f"{ABLATIONS}{family}", settings.evaluation
    with replacing_directory(Path("data/evaluations") / study) as directory:
        for of in ablations(settings, family):
            accuracy, runs = evaluate(of, Places(), device)
            write(directory / of.name, accuracy, runs)
            summaries[of.name] = metric(accuracy, statistics.bootstrap, statistics.confidence)
    write_json(Path("data/metrics/evaluations") / f"{study}.json", summaries)


if __name__ == "__main__":
    run_main(main)
