"""The flow: stale stages as Prefect tasks, each its own DVC process, producers before consumers."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import TaskRunContext
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from pipeline.flows import board as states
from pipeline.flows.board import Board, shown
from pipeline.flows.devices import Devices, here
from pipeline.flows.plan import Planned, plan
from pipeline.flows.process import Cancelled, Processes, StageFailed, ending_at

# Seconds before a stage that crashed is tried again, the first and the next times.
BACK_OFF = [2.0, 10.0, 60.0]
NO_DEVICE: dict[str, str] = {}
CORES = len(os.sched_getaffinity(0))


class Work:
    """What the tasks of one flow share."""

    def __init__(self, planned: Sequence[Planned], devices: Devices) -> None:
        self.planned, self.devices = planned, devices
        self.board, self.processes = Board(planned), Processes()

    @property
    def at_once(self) -> int:
        """Most stages that run at a time: the training ones have devices, the others cores."""
        return len(self.devices.names) + CORES

    def ready(self, done: set[str], running: set[str], submitted: set[str]) -> list[Planned]:
        """The stages to submit now: what they need is done, and there is a place for them."""
        trains = {stage.name: stage.trains for stage in self.planned}
        free = {True: len(self.devices.names), False: CORES}
        for name in running:
            free[trains[name]] -= 1
        chosen = []
        for stage in self.planned:
            if stage.name not in submitted and free[stage.trains] > 0 and done.issuperset(stage.after):
                free[stage.trains] -= 1
                chosen.append(stage)
        return chosen

    def do(self, stage: Planned, last: bool) -> None:
        """Run one stage on a device of its own, if it trains."""
        with self.devices.lease() if stage.trains else nullcontext(NO_DEVICE) as environment:
            self.board.set(stage.name, states.RUNNING, " ".join(f"{k}={v}" for k, v in environment.items()))
            try:
                outcome = self.processes.run(stage.name, environment)
            except StageFailed as error:
                self.board.set(stage.name, states.FAILED if last or not error.again else states.WAITING, str(error))
                raise
            except Cancelled:
                self.board.set(stage.name, states.CANCELLED)
                raise
        self.board.set(stage.name, states.DONE if outcome.ran else states.UNCHANGED)


def reproduce(targets: Sequence[str] = (), workers: int | None = None, per_device: int = 1, retries: int = 1) -> Board:
    """Bring the stages `targets` (all, if none) up to date, as a Prefect flow run; returns how each ended.

    Args:
        workers: training stages at a time where there is no GPU.
        per_device: training stages that may share one GPU.
        retries: how often a stage that crashed is tried again; one that refuses its settings never is.

    Raises `UserError` for an unknown stage or settings that DVC cannot read.
    """
    work = Work(plan(targets), here(per_device, workers))
    if not work.planned:
        return work.board

    threads: Any = ThreadPoolTaskRunner(max_workers=work.at_once)

    @flow(name="neurop", task_runner=threads, validate_parameters=False)
    def neurop(targets: list[str]) -> State[Any]:
        _run_all(work, retries)
        work.board.finish()
        create_table_artifact(work.board.rows(), key="stages", description=work.board.summary())
        return Failed(message=work.board.summary()) if work.board.failed else Completed(message=work.board.summary())

    # Not in the main thread: there Prefect takes SIGTERM for itself and ends the process at once, its children not.
    thread = threading.Thread(target=neurop, args=(list(targets),), kwargs={"return_state": True})
    with ending_at(work.processes.end), shown(work.board):
        thread.start()
        thread.join()
    work.processes.end()
    work.board.finish()
    return work.board


def _run_all(work: Work, retries: int) -> None:
    """Submit each stage when all that it needs are done and a place is free; a failure stops only what is behind it."""
    futures: dict[str, PrefectFuture[None]] = {}
    ended: queue.SimpleQueue[str] = queue.SimpleQueue()
    done: set[str] = set()
    running: set[str] = set()
    while True:
        for stage in work.ready(done, running, set(futures)):
            run = run_stage.with_options(name=stage.group, task_run_name=stage.name, retries=retries)
            before = [futures[name] for name in stage.after]
            future = run.submit(work, stage, retries, wait_for=before)  # type: ignore[call-overload]
            future.add_done_callback(partial(_put, ended, stage.name))
            futures[stage.name] = future
            running.add(stage.name)
        if not running:
            return
        name = ended.get()
        running.remove(name)
        if work.board.succeeded(name):
            done.add(name)


def _put(ended: queue.SimpleQueue[str], name: str, _: object) -> None:
    ended.put(name)


def _may_help(_task: object, _run: object, state: State[Any]) -> bool:
    """Whether a failed task is tried again."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, StageFailed) and error.again


# DVC decides what is up to date, so Prefect caches nothing.
@task(cache_policy=NO_CACHE, persist_result=False, retry_delay_seconds=BACK_OFF, retry_condition_fn=_may_help)
def run_stage(work: Work, stage: Planned, retries: int) -> None:
    """Run one stage; raises what makes the task fail."""
    context = TaskRunContext.get()
    assert context is not None
    work.do(stage, last=context.task_run.run_count > retries)
