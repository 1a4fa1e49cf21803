"""The MLflow side of live curves: a process that reads rows of runs from its input and logs them in batches."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from pipeline.errors import UserError
from pipeline.tracking import address
from pipeline.tracking.describe import git, identity
from pipeline.tracking.pages import flow_tags
from pipeline.tracking.store import CONFIGURATION, OUTPUTS, RUN, SOURCE, Point, Store, points, reported

SECONDS_BETWEEN_BATCHES = 1.0
# Where every core trains, the import of MLflow takes a few hundredths of one, not half.
NICENESS = 15
# What is left to do after training has ended may take this long.
SECONDS_TO_FINISH = 120

Line = tuple[int, float, dict[str, float]]  # seed, seconds since 1970, row


def follow() -> None:
    """Log the runs whose headers and rows come on standard input, until that is closed.

    Says on standard output an empty line when the tracking address answers, or what is wrong in one line.
    """
    # Ctrl-C and a batch system's notice reach the whole process group; training decides, and closes the input.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os.nice(NICENESS)
    says = _only_for_us()
    try:
        _follow(says, sys.stdin.fileno())
    except UserError as error:
        _say(says, str(error))
    except Exception as error:  # whatever MLflow or a database driver raises: training must hear one line
        _say(says, f"{type(error).__name__}: {error}"[:300])


def _only_for_us() -> TextIO:
    """The standard output; what libraries print goes nowhere."""
    says = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return says


def _say(says: TextIO, text: str) -> None:
    with suppress(OSError):  # training may have ended and listen no more
        print(" ".join(text.split()), file=says, flush=True)


def _follow(says: TextIO, descriptor: int) -> None:
    address.check()
    _say(says, "")
    lines = batches(descriptor)
    (header, *first) = next(lines, [None])
    if header is None:
        return
    headers, tags = by_seed(header), git(Path()) | flow_tags()
    store = Store.connect()
    live: dict[int, Live] = {}
    with reported():
        for batch in filter(None, chain([first], lines)):
            for seed in dict.fromkeys(line[0] for line in batch):
                mine = [line for line in batch if line[0] == seed]
                if seed not in live:
                    live[seed] = Live.open(store, headers[seed], tags, first_step=int(mine[0][2]["step"]))
                live[seed].log(mine)
        signal.alarm(SECONDS_TO_FINISH)
        for one in live.values():
            one.close()


def by_seed(header: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """The header of each run from that of all runs that train together: they share all settings but the seed."""
    return {
        run["seed"]: {**header, **run, "settings": {**header["settings"], "seed": str(run["seed"])}}
        for run in header["runs"]
    }


def batches(descriptor: int) -> Iterator[list[Any]]:
    """What came since the last batch, a JSON value a line; ends when the other side closes."""
    rest = b""
    while chunk := os.read(descriptor, 1 << 20):
        *lines, rest = (rest + chunk).split(b"\n")
        if lines:
            yield [json.loads(line) for line in lines]
            time.sleep(SECONDS_BETWEEN_BATCHES)


@dataclass
class Live:
    """The MLflow run of a training that goes on."""

    store: Store
    run: str
    header: Mapping[str, Any]
    there: set[Point] = field(default_factory=set)
    last: float = 0.0  # when the newest row came, in seconds since 1970

    @staticmethod
    def open(store: Store, header: Mapping[str, Any], tags: Mapping[str, str], first_step: int) -> Live:
        """Continue the run that an interrupted training began, or begin one.

        A training that starts at step 0 continues none: its code may differ, and points cannot be replaced.
        """
        with address.exclusive():
            experiment = store.experiment(header["study"])
            key = {RUN: header["run"], CONFIGURATION: header["identity"]}
            unpublished = [run for run in store.find(experiment, key) if OUTPUTS not in run.data.tags]
            if unpublished and (first_step > 0 or not unpublished[0].data.metrics):
                run = unpublished[0]
                store.client.update_run(run.info.run_id, "RUNNING")
                store.log(run.info.run_id, tags=flow_tags())  # it may have begun in another flow, or in none
                return Live(store, run.info.run_id, header, set(store.points(run)))
            parent = store.parent(experiment, header["study"], header["name"], header["group"], header["settings"])
            tags = {**key, **tags, SOURCE: header["stage"]}
            made = store.create(experiment, parent, header["run"], tags, header["started"])
        store.log(made, settings=header["settings"])
        return Live(store, made, header)

    def log(self, batch: list[Line]) -> None:
        """Log the points that are not there yet: a resumed training repeats those after its checkpoint."""
        new = {
            point: (value, seconds)
            for _, seconds, row in batch
            for point, value in points(row).items()
            if point not in self.there
        }
        self.store.log(self.run, new)
        self.there |= new.keys()
        self.last = batch[-1][1]

    def close(self) -> None:
        """Say how training ended: with outputs, or before them (it may be resumed). Add what it ran on."""
        outputs, log = Path(self.header["outputs"]) / "config.json", Path(self.header["log"])
        finished = _newer(outputs, self.header) and identity(_json(outputs)) == self.header["identity"]
        if finished and _newer(log, self.header):
            facts = _json(log)
            numbers = {key: value for key, value in facts.items() if isinstance(value, int | float)}
            self.store.log(
                self.run,
                {(f"machine/{key}", 0): (float(value), time.time()) for key, value in numbers.items()},
                tags={f"machine.{key}": str(value) for key, value in facts.items() if key not in numbers},
            )
        self.store.client.set_terminated(self.run, "FINISHED" if finished else "KILLED", int(self.last * 1000))


def _newer(path: Path, header: Mapping[str, Any]) -> bool:
    return path.exists() and path.stat().st_mtime > header["started"]


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
