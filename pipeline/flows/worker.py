"""A machine that takes stages from a work pool, or scheduled flows from the head's: Prefect's worker, in this clone."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from pipeline.errors import UserError
from pipeline.flows.devices import here
from pipeline.flows.environment import SERVICE, prepare
from pipeline.flows.pool import queue, worker_name
from pipeline.flows.prepared import check_remote
from pipeline.flows.server import make_pool, register, server
from pipeline.flows.slots import announce
from pipeline.flows.workspaces import commit

# A worker asks for what is due by its own clock; stages are due at once, by the server's.
SECONDS_A_CLOCK_MAY_BE_BEHIND = 86400

HEAD = "neurop-head"  # the pool of prefect.yaml
ENTRYPOINT = "pipeline.flows.deployed.stage"


def work(pool: str, name: str | None = None, per_device: int = 1, workers: int | None = None) -> None:
    """Take stages of the pool, as many at a time as this machine has devices, until told to stop; does not return.

    Raises `UserError` if the clone has changes, its DVC remote cannot be used, or the server does not answer.
    """
    if pool == HEAD:
        raise UserError(f"'{HEAD}' is the pool of scheduled flows; `neurop head` takes those")
    name = _checked(name or socket.gethostname())
    at = commit(Path())
    devices = here(per_device, workers)
    check_remote(Path())
    prepare(settings=SERVICE)
    from pipeline.flows.deployed import stage

    with server() as client:
        make_pool(client, pool)
        register(client, stage, ENTRYPOINT, pool)
    os.environ.update(announce(devices), NEUROP_WORKER=name)
    if "MLFLOW_TRACKING_URI" not in os.environ:
        os.environ.setdefault("NEUROP_TRACKING", "off")  # nobody would look into a file of this machine
    print(f"{worker_name(name, at)} takes stages of '{pool}', {devices}", flush=True)
    early = str(SECONDS_A_CLOCK_MAY_BE_BEHIND)
    _start(pool, worker_name(name, at), len(devices.names), "--work-queue", queue(at), "--prefetch-seconds", early)


def lead(name: str | None = None) -> None:
    """Take the flows that `neurop deploy` has scheduled, one at a time; does not return. Raises `UserError`."""
    name = _checked(name or socket.gethostname())
    commit(Path())
    prepare(settings=SERVICE)
    with server() as client:
        make_pool(client, HEAD)
    print(f"{name} takes scheduled flows", flush=True)
    # Three: one of each deployment, which itself allows one at a time.
    _start(HEAD, name, 3)


def _start(pool: str, name: str, limit: int, *more: str) -> None:
    os.environ["NEUROP_WORKSPACE"] = str(Path().resolve())
    os.environ.setdefault("PREFECT_WORKER_QUERY_SECONDS", "5")
    command = ["worker", "start", "--type", "process", "--pool", pool, "--name", name, "--limit", str(limit), *more]
    os.execv(sys.executable, [sys.executable, "-m", "prefect", *command])


def _checked(name: str) -> str:
    if not name or any(char in name for char in "/%&@<>") or len(name) > 60:
        raise UserError(f"'{name}' cannot be a worker's name; give one without / % & @ < > by --name")
    return name
