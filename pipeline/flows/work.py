"""What the tasks of one flow share: the plan, the places, the board, and how one stage is done."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.flows import board as states
from pipeline.flows.board import Board
from pipeline.flows.devices import Devices
from pipeline.flows.plan import Planned
from pipeline.flows.pool import IN_FLIGHT, Pool
from pipeline.flows.process import LOGS, Cancelled, Processes, StageFailed, log_file, progress

CORES = len(os.sched_getaffinity(0))


class Work:
    """One flow's work.

    Args:
        planned: the stages, producers first.
        devices: places on this machine for stages that train.
        pool: where they train instead, if not None.
        root: the workspace.
    """

    def __init__(
        self, planned: Sequence[Planned], devices: Devices, pool: Pool | None = None, root: Path = Path()
    ) -> None:
        self.planned, self.devices, self.pool, self.root = planned, devices, pool, root
        self.processes = Processes(root)
        self.board = Board(planned, self.progress)

    @property
    def places(self) -> int:
        """How many stages may train at a time."""
        return IN_FLIGHT if self.pool else len(self.devices.names)

    @property
    def at_once(self) -> int:
        """Most stages that run at a time: the training ones have devices, the others cores."""
        return self.places + CORES

    def ready(self, done: set[str], running: set[str], submitted: set[str]) -> list[Planned]:
        """The stages to submit now: what they need is done, and there is a place for them."""
        trains = {stage.name: stage.trains for stage in self.planned}
        free = {True: self.places, False: CORES}
        for name in running:
            free[trains[name]] -= 1
        chosen = []
        for stage in self.planned:
            if stage.name not in submitted and free[stage.trains] > 0 and done.issuperset(stage.after):
                free[stage.trains] -= 1
                chosen.append(stage)
        return chosen

    def do(self, stage: Planned, last: bool) -> None:
        """Run one stage: one that trains in the pool or on a device of its own, any other here and now.

        Args:
            last: whether a failure is the end of it.

        Raises `StageFailed` or `Cancelled`.
        """
        try:
            if not stage.trains:
                ran = self._here(stage.name, "")
            elif self.pool is not None:
                ran = self._elsewhere(stage.name, self.pool)
            else:
                with self.devices.lease() as lease:
                    ran = self._here(stage.name, " ".join(f"{k}={v}" for k, v in lease.environment.items()), lease)
        except StageFailed as error:
            self.board.set(stage.name, states.FAILED if last or not error.again else states.WAITING, str(error))
            raise
        except Cancelled:
            self.board.set(stage.name, states.CANCELLED)
            raise
        self.board.set(stage.name, states.DONE if ran else states.UNCHANGED)

    def publish(self) -> None:
        """Complete the record on the MLflow server, if there is one; what goes wrong is a remark on the board."""
        if os.environ.get("MLFLOW_TRACKING_URI", "").startswith("http") and (self.root / "data").is_dir():
            log = self.root / LOGS / "publish.log"
            try:
                code, text = self.processes.call([sys.executable, "-m", "pipeline", "publish"], log)
            except Cancelled:
                return
            self.board.remark = "" if not code else f"not all is in MLflow: {(text.splitlines() or [''])[-1]}"

    def end(self) -> None:
        """End all that runs, here and elsewhere."""
        if self.pool is not None:
            self.pool.end()
        self.processes.end()

    def progress(self, name: str) -> str:
        """What a running stage said last."""
        elsewhere = self.pool.progress(name) if self.pool else ""
        return elsewhere or progress(self.root / log_file(name))

    def _here(self, name: str, note: str, lease: Any = None) -> bool:
        self.board.set(name, states.RUNNING, note)
        return self.processes.run(name, lease).ran

    def _elsewhere(self, name: str, pool: Pool) -> bool:
        self.board.set(name, states.RUNNING, pool.name)
        if exchange(self.processes, name, "take", name):
            return False
        pool.run(name, exchange(self.processes, name, "offer", name))
        if not exchange(self.processes, name, "take", name):
            raise StageFailed("its worker says that it has run, but its outputs are not on the DVC remote", again=True)
        return True


def exchange(processes: Processes, name: str, *arguments: str) -> Any:
    """One exchange with the DVC remote for the stage `name`; see `pipeline.flows.exchange`. Raises `StageFailed`."""
    log = processes.root / LOGS / f"{name}.{arguments[0]}.log"
    code, text = processes.call([sys.executable, "-m", "pipeline.flows.exchange", *arguments], log)
    lines = [line for line in text.splitlines() if line.strip()] or [f"the exchange ended with {code}"]
    if code:
        errors = [line for line in lines if line.startswith("error: ")]
        raise StageFailed((errors or lines)[-1].removeprefix("error: "), again=True)
    return json.loads(lines[-1])
