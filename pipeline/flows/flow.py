"""The flow: stale stages as Prefect tasks, producers before consumers, what is independent side by side."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

from prefect import flow, get_client, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.client.schemas.objects import State
from prefect.context import TaskRunContext
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from pipeline.flows.board import Board, shown
from pipeline.flows.links import announce, links
from pipeline.flows.plan import Planned
from pipeline.flows.process import StageFailed, ending_at
from pipeline.flows.work import Work

# Seconds before a stage that crashed is tried again, the first and the next times.
BACK_OFF = [2.0, 10.0, 60.0]
SECONDS_BETWEEN_TABLES = 15.0


def reproduce(work: Work, targets: Sequence[str] = (), retries: int = 1) -> Board:
    """Do the work as a Prefect flow run; returns how each stage ended.

    Args:
        targets: what was asked for, as the flow run shows it.
        retries: how often a stage that crashed is tried again; one that refuses its settings never is.
    """
    if not work.planned:
        return work.board

    @flow(name="neurop", task_runner=runner(work), validate_parameters=False)
    def neurop(targets: list[str]) -> State[Any]:
        return carry_out(work, retries)

    def recorded() -> None:
        try:
            neurop(list(targets), return_state=True)
        except Exception as error:  # Prefect's own: its server went away
            work.board.remark = f"the Prefect server fails ({' '.join(str(error).split())[:200]})"

    # Not in the main thread: there Prefect takes SIGTERM for itself and ends the process at once, its children not.
    thread = threading.Thread(target=recorded)
    with ending_at(work.end), shown(work.board):
        thread.start()
        thread.join()
    work.end()
    work.board.finish()
    return work.board


def runner(work: Work) -> Any:
    """A thread for each stage that may be under way."""
    return ThreadPoolTaskRunner(max_workers=work.at_once)


def carry_out(work: Work, retries: int) -> State[Any]:
    """All stages, within a flow run whose task runner is `runner(work)`; returns the state in which that ends."""
    announce()
    table = _Table(work.board)
    try:
        _run_all(work, retries, table)
        work.publish()
    finally:
        work.end()
        work.board.finish()
    table.write()
    ended = Failed if work.board.failed else Completed
    return ended(message=work.board.summary())


def _run_all(work: Work, retries: int, table: _Table) -> None:
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
        try:
            name = ended.get(timeout=SECONDS_BETWEEN_TABLES)
        except queue.Empty:
            table.write()
            continue
        running.remove(name)
        if work.board.succeeded(name):
            done.add(name)


class _Table:
    """The board as an artefact of the flow run, with links to the runs in MLflow."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.artifact: UUID | None = None

    def write(self) -> None:
        rows, summary = self.board.rows(), self.board.summary()
        found = links([row["stage"] for row in rows])
        table = [{**row, "MLflow": f"[run]({found[row['stage']]})" if row["stage"] in found else ""} for row in rows]
        if self.artifact is None:
            self.artifact = create_table_artifact(table, key="stages", description=summary)  # type: ignore[assignment]
            return
        with get_client(sync_client=True) as client:
            client.update_artifact(self.artifact, ArtifactUpdate(data=json.dumps(table), description=summary))


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
