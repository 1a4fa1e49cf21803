"""Trains what is missing, run after run, until all is there or the time is up."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.offsite.missing import Item
from pipeline.training.run import Places
from pipeline.training.stop import EXIT_TIME_IS_UP, Stop

SECONDS_BETWEEN_LOOKS = 0.2


@dataclass
class Outcome:
    """What became of the items that a session began."""

    trained: list[Item] = field(default_factory=list)
    failed: list[Item] = field(default_factory=list)


def train_all(items: Sequence[Item], stop: Stop, places: Places) -> Outcome:
    """Train items in their order until `stop()`, the first of them for one step at least.

    Each has a process of its own, the stage's: nothing of one run is left in memory when the next one begins, and
    its bits are those of `dvc repro`. What fails is left out; the reason is on stderr.
    """
    outcome = Outcome()
    for number, item in enumerate(items, 1):
        if item.finished(places):  # another process was faster
            continue
        left = f", {stop.seconds_left / 60:.1f} minutes left" if math.isfinite(stop.seconds_left) else ""
        print(f"[{number} of {len(items)}] {item.run.title}{left}", file=sys.stderr, flush=True)
        code = _train(item, stop, places)
        if code == 0:
            outcome.trained.append(item)
        elif code != EXIT_TIME_IS_UP and not stop.received:
            outcome.failed.append(item)
        if code == EXIT_TIME_IS_UP or stop():
            break
    return outcome


def _train(item: Item, stop: Stop, places: Places) -> int:
    """Train one item in the stage's own program; returns its exit code."""
    run = item.run
    command = [sys.executable, "-m", "stages.train", run.study, run.name, run.item]
    if math.isfinite(stop.seconds_left):
        command += ["--max-seconds", f"{max(0.0, stop.seconds_left):.3f}"]
    # A process group of its own, so that Ctrl-C reaches it once, from here, and is no second Ctrl-C.
    with subprocess.Popen(command, cwd=places.root, env=_environment(), process_group=0) as process:
        try:
            while True:
                try:
                    return process.wait(SECONDS_BETWEEN_LOOKS)
                except subprocess.TimeoutExpired:
                    if stop.received:
                        process.terminate()
        except BaseException:
            process.kill()
            raise


def _environment() -> dict[str, str]:
    package = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    if "NEUROP_TRACKING" not in environment and importlib.util.find_spec("mlflow") is None:
        environment["NEUROP_TRACKING"] = "off"  # or each run would say that MLflow is missing
    return environment
