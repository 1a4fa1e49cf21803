"""DVC stage analyze@family: what the best run of each meta-learner does, and how all runs compare."""

from __future__ import annotations

from pathlib import Path

from pipeline import params
from pipeline.analysis.analyse import analyse_family
from pipeline.errors import run_main
from pipeline.files import replacing_directory, write_json
from pipeline.synthesis import choose_run
from pipeline.training import machine
from pipeline.training.recipe import recipe
from pipeline.training.run import Places
from stages import arguments


def main(argv: list[str]) -> None:
    (family,) = arguments(argv, "analyze", "FAMILY")
    settings, places = params.load(), Places()
    machine.prepare()
    learners = [name for name in settings.grid.learners if name.startswith("meta_")]
    best = {str(name): places.run(choose_run(settings, family, name, None, places)) for name in learners}
    runs = [places.run(run) for name in learners for run in recipe(settings, family, name).runs]
    with replacing_directory(Path("data/analyses") / family) as directory:
        numbers = analyse_family(best, runs, directory)
    write_json(Path("data/metrics/analyses") / f"{family}.json", numbers)


if __name__ == "__main__":
    run_main(main)
