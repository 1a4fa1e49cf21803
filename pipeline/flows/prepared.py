"""A flow's work, with everything that can be wrong found before the first stage runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import UserError
from pipeline.flows.devices import Devices, here
from pipeline.flows.plan import plan
from pipeline.flows.pool import Pool
from pipeline.flows.repair import keep_in_memory, repair
from pipeline.flows.server import server
from pipeline.flows.work import Work
from pipeline.flows.workspaces import commit


def prepared(
    root: Path, targets: Sequence[str], workers: int | None = None, per_device: int = 1, pool: str | None = None
) -> Work:
    """What is stale in the workspace `root`, and where it will run.

    Raises `UserError` for an unknown stage, settings that DVC cannot read, a device that is not here, a Prefect server
    that does not answer, a pool without a worker for this commit, a DVC remote that cannot be used.
    """
    repair(root)
    keep_in_memory(root)
    with inside(root):
        planned = plan(targets)
    if planned and os.environ.get("PREFECT_API_URL"):
        with server():
            pass
    if not any(stage.trains for stage in planned):
        return Work(planned, Devices([]), root=root)
    if pool is None:
        return Work(planned, here(per_device, workers), root=root)
    params = (root / "params.yaml").read_text(encoding="utf-8")
    reached = Pool.reached(pool, commit(root), params)
    check_remote(root)
    return Work(planned, Devices([]), reached, root)


def check_remote(root: Path) -> None:
    """Raises `UserError` if the workspace has no DVC remote that can be read and written."""
    command = [sys.executable, "-m", "pipeline.flows.exchange", "check"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")] or done.stderr.splitlines()
        raise UserError((lines or ["the DVC remote cannot be used"])[-1].removeprefix("error: "))


@contextmanager
def inside(root: Path) -> Iterator[None]:
    """Within the block `root` is the working directory: DVC knows no other way."""
    before = Path.cwd()
    os.chdir(root)
    try:
        yield
    finally:
        os.chdir(before)
