"""The flows that deployments name: the grid, run by a head, and one stage, run by a worker."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from prefect import flow, get_client, runtime
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from prefect.types import KeyValueLabels

from pipeline.errors import UserError
from pipeline.flows.flow import carry_out, runner
from pipeline.flows.links import announce
from pipeline.flows.pool import (
    BEAT,
    PROGRESS,
    REFUSED,
    SECONDS_BETWEEN_BEATS,
    STAGE_FLOW,
    WORKER,
    worker_name,
)
from pipeline.flows.prepared import prepared
from pipeline.flows.process import Cancelled, Processes, StageFailed, log_file, progress
from pipeline.flows.request import Family, Learner, Profile, settings
from pipeline.flows.slots import slots
from pipeline.flows.work import exchange
from pipeline.flows.workspaces import commit as commit_of
from pipeline.flows.workspaces import workspace

INPUTS = Path(".scratch") / "inputs"


@flow(name="neurop")
def grid(
    profile: Profile = "params.yaml",
    families: list[Family] | None = None,
    learners: list[Learner] | None = None,
    seeds: list[int | str] | None = None,
    targets: list[str] | None = None,
    pool: str | None = None,
    retries: int = 2,
) -> State[Any]:
    """Bring a grid up to date: what is missing of it is run, and nothing else.

    Args:
        profile: the settings: `params.yaml` as it is in this clone, or one of `profiles/`.
        families, learners, seeds: the part of its grid; None is all of it.
        targets: stages or groups such as `evaluate`; None is all of them.
        pool: the work pool whose workers train; None trains on this machine.
        retries: how often a stage that crashed is tried again.
    """
    clone = Path.cwd()
    try:
        text = settings(clone, profile, families, learners, seeds)
        with workspace(clone, commit_of(clone), text) as root:
            work = prepared(root, targets or [], pool=pool)
            if not work.planned:
                return Completed(message="nothing to do")
            ended = grid_stages.with_options(task_runner=runner(work))(work, retries, return_state=True)
            return ended if ended.is_failed() else Completed(message=f"{ended.message}; in {root.relative_to(clone)}")
    except UserError as error:
        return Failed(message=str(error), name=REFUSED)


@flow(name="neurop-stages", validate_parameters=False)
def grid_stages(work: Any, retries: int) -> State[Any]:
    """The stages of a grid."""
    return carry_out(work, retries)


@flow(name=STAGE_FLOW)
def stage(name: str, commit: str, params: str, inputs: str) -> State[Any]:
    """Run one stage in a workspace of this clone, and put what it wrote on the DVC remote.

    Args:
        commit: of the flow that asks; the clone must be at the same.
        params: the text of its `params.yaml`.
        inputs: JSON; the entries of the stages that made what it needs.
    """
    clone = Path.cwd()
    try:
        with workspace(clone, commit, params) as root, slots().lease() as lease:
            announce()
            processes = Processes(root)
            with _Beat(processes, name, commit):
                file = root / INPUTS / f"{name}.json"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(inputs, encoding="utf-8")
                exchange(processes, name, "accept", str(file))
                processes.run(name, lease)
                exchange(processes, name, "give", name)
    except StageFailed as error:
        return Failed(message=str(error), name=None if error.again else REFUSED)
    except UserError as error:
        return Failed(message=str(error), name=REFUSED)
    except Cancelled:
        return Failed(message="cancelled")
    return Completed(message=name)


class _Beat:
    """Says from time to time that this worker lives and what its stage said last, and hears whether it is to end."""

    def __init__(self, processes: Processes, name: str, commit: str) -> None:
        self.processes, self.name = processes, name
        self.worker = worker_name(os.environ.get("NEUROP_WORKER", socket.gethostname()), commit)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go, args=(runtime.flow_run.id,), daemon=True)

    def __enter__(self) -> _Beat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.processes.end()

    def _go(self, identifier: Any) -> None:
        with get_client(sync_client=True) as client:
            beat = 0
            while not self._over.wait(SECONDS_BETWEEN_BEATS if beat else 0):
                beat += 1
                labels: KeyValueLabels = {
                    BEAT: beat,
                    WORKER: self.worker,
                    PROGRESS: progress(self.processes.root / log_file(self.name)),
                }
                with suppress(Exception):  # a server that is away for a while costs no training
                    client.update_flow_run_labels(identifier, labels)
                    state = client.read_flow_run(identifier).state
                    if state is not None and (state.is_final() or state.is_cancelling()):
                        self.processes.end()
