"""DVC stages train@family-learner-seed and ablate@family-variant-seed: one run, or those of a pack of seeds.

SIGTERM and SIGINT leave a checkpoint, from which it resumes.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType

from pipeline import params
from pipeline.errors import UserError, run_main
from pipeline.tracking import Follower
from pipeline.training.loop import Hooks, Interrupted
from pipeline.training.recipe import Pack, pack_runs, recipe
from pipeline.training.run import train
from stages import arguments


class StopSignal:
    """Remembers the first SIGTERM or SIGINT; a second SIGINT ends the process at once."""

    def __init__(self) -> None:
        self.received = 0
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def __call__(self) -> bool:
        return self.received != 0


def main(argv: list[str]) -> int:
    study, name, seeds = arguments(argv, "train", "STUDY", "NAME", "SEEDS")
    try:
        run, stop = pack_runs(study, name, Pack.parse(seeds))[0], StopSignal()
    except ValueError as error:
        raise UserError(f"'{seeds}' {error}") from None
    settings = params.load()
    recipe(settings, study, name)  # paths are made of the names: a wrong one ends here, before anything is written
    with Follower(run, settings) as follower:
        try:
            train(settings, run, Hooks(on_row=follower.send, stop=stop))
        except Interrupted as interruption:
            print(f"{run.title}: {interruption}", file=sys.stderr)
            return 128 + stop.received
    return 0


if __name__ == "__main__":
    run_main(main)
