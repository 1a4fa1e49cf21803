"""DVC stages train@family-learner-seed and ablate@family-variant-seed: one run, or those of a pack of seeds.

SIGTERM, SIGINT and the end of `--max-seconds` leave a checkpoint, from which it resumes.
"""

from __future__ import annotations

import sys

from pipeline import params
from pipeline.command_line import Parser, duration
from pipeline.errors import UserError, run_main
from pipeline.tracking import Follower
from pipeline.training.loop import Hooks, Interrupted
from pipeline.training.recipe import Pack, pack_runs, recipe
from pipeline.training.run import train
from pipeline.training.stop import Stop
from stages import arguments


def main(argv: list[str]) -> int:
    parser = Parser(prog="python -m stages.train", usage="%(prog)s STUDY NAME SEEDS [--max-seconds N]")
    parser.add_argument(
        "--max-seconds",
        type=duration,
        help="stop after so long, at least one step, with a checkpoint and exit code 75: run it again to go on",
    )
    options, names = parser.parse_known_args(argv)
    study, name, seeds = arguments(names, "train", "STUDY", "NAME", "SEEDS")
    try:
        run, stop = pack_runs(study, name, Pack.parse(seeds))[0], Stop(options.max_seconds)
    except ValueError as error:
        raise UserError(f"'{seeds}' {error}") from None
    settings = params.load()
    recipe(settings, study, name)  # paths are made of the names: a wrong one ends here, before anything is written
    with Follower(run, settings) as follower:
        try:
            train(settings, run, Hooks(on_row=follower.send, stop=stop))
        except Interrupted as interruption:
            print(f"{run.title}: {interruption}", file=sys.stderr)
            return stop.exit_code
    return 0


if __name__ == "__main__":
    run_main(main)
