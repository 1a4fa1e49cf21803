"""DVC stages train@family-learner-seed and ablate@family-variant-seed: one run.

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
from pipeline.training.recipe import recipe
from pipeline.training.run import RunId, train
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
    study, name, seed = arguments(argv, "train", "STUDY", "NAME", "SEED")
    if not seed.isdecimal():
        raise UserError(f"seed is '{seed}'; give a whole number")
    run, stop = RunId(study, name, int(seed)), StopSignal()
    settings = params.load()
    recipe(settings, study, name)  # paths are made of the names: a wrong one ends here, before anything is written
    with Follower(run, settings) as follower:
        try:
            train(settings, run, Hooks(on_row=follower.send, stop=stop))
        except Interrupted as interruption:
            print(f"{run}: {interruption}", file=sys.stderr)
            return 128 + stop.received
    return 0


if __name__ == "__main__":
    run_main(main)
