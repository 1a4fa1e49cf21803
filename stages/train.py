"""DVC stages train@family-learner-seed and ablate@family-variant-seed: one run.

SIGTERM, SIGINT and the end of `--max-seconds` leave a checkpoint, from which it resumes.
"""

from __future__ import annotations

import sys

from pipeline import params
from pipeline.command_line import Parser, duration
from pipeline.errors import UserError, run_main
from pipeline.tracking import Follower
from pipeline.training.loop import Hooks, Interrupted
from pipeline.training.recipe import recipe
from pipeline.training.run import RunId, train
from pipeline.training.stop import Stop
from stages import arguments


def main(argv: list[str]) -> int:
    parser = Parser(prog="python -m stages.train", usage="%(prog)s STUDY NAME SEED [--max-seconds N]")
    parser.add_argument(
        "--max-seconds",
        type=duration,
        help="stop after so long, at least one step, with a checkpoint and exit code 75: run it again to go on",
    )
    options, names = parser.parse_known_args(argv)
    study, name, seed = arguments(names, "train", "STUDY", "NAME", "SEED")
    if not seed.isdecimal():
        raise UserError(f"seed is '{seed}'; give a whole number")
    run, stop = RunId(study, name, int(seed)), Stop(options.max_seconds)
    settings = params.load()
    recipe(settings, study, name)  # paths are made of the names: a wrong one ends here, before anything is written
    with Follower(run, settings) as follower:
        try:
            train(settings, run, Hooks(on_row=follower.send, stop=stop))
        except Interrupted as interruption:
            print(f"{run}: {interruption}", file=sys.stderr)
            return stop.exit_code
    return 0


if __name__ == "__main__":
    run_main(main)
