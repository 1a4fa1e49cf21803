"""Stages on workers in clones of their own, with a real Prefect server; what no worker can do is said at once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster import toy
from tests.cluster.conftest import Server

SEEDS = range(4)
HOURS = {"head": -2, "one": -20, "two": 0, "three": 20}  # by which a machine's clock is ahead
Start = Callable[..., subprocess.Popen[bytes]]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    return toy.make(tmp_path / "origin", SEEDS)


@pytest.fixture
def head(origin: Path, tmp_path: Path) -> Path:
    return toy.clone(origin, tmp_path / "head", str(tmp_path / "remote"))


@pytest.fixture
def start(server: Server, origin: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts a worker in a clone of its own and waits until it is online."""
    started = []

    def one(pool: str, name: str, **more: str) -> subprocess.Popen[bytes]:
        place, log = tmp_path / name, tmp_path / f"{name}.log"
        if not place.exists():
            toy.clone(origin, place, str(tmp_path / "remote"))
        before = log.read_text().count("started!") if log.exists() else 0
        more = {"PREFECT_API_URL": server.url, "PREFECT_WORKER_HEARTBEAT_SECONDS": "2", **more}
        made = toy.start(place, log, sys.executable, "-c", toy.WORKER, pool, name, **more)
        started.append(made)
        toy.until(lambda: log.read_text().count("started!") > before, f"the worker starts: {log.read_text()}")
        return made

    yield one
    for each in started:
        toy.stop(each)
    for pid in toy.processes(tmp_path, "python"):
        toy.kill(pid)


def flow(head: Path, server: Server, *pool: str, code: int = 0, **more: str) -> str:
    return toy.call(head, sys.executable, "-c", toy.FLOW, *pool, code=code, PREFECT_API_URL=server.url, **more)


def entries(remote: Path) -> int:
    """How many runs the remote holds."""
    return sum(path.is_file() for path in (remote / "runs").rglob("*"))


def test_three_workers_killed_at_random_lose_nothing(server: Server, head: Path, start: Start, tmp_path: Path) -> None:
    """A worker, one of its stages and the flow are killed meanwhile; the report is the same, each run is there once.

    No two of the machines have the same time.
    """
    clocks = {name: toy.wrong_clock(tmp_path / f"clock{name}", hours) for name, hours in HOURS.items()}
    workers = {name: start("three", name, **clocks[name]) for name in ("one", "two", "three")}
    chance, more = random.Random(3), {"PREFECT_API_URL": server.url, "TOY_STEPS": "20", **clocks["head"]}
    command = [sys.executable, "-c", toy.FLOW, "three"]
    running = toy.start(head, tmp_path / "flow.log", *command, **more)
    for victim in ("stage", "worker", "flow"):
        toy.until(lambda: toy.processes(tmp_path, "toy.py train"), "a stage trains")
        if victim == "stage":
            toy.kill(chance.choice(toy.processes(tmp_path, "toy.py train")))
        elif victim == "worker":
            name = chance.choice(sorted(workers))
            for pid in toy.processes(tmp_path / name, "python"):
                toy.kill(pid)  # all that there is of the machine
            toy.stop(workers[name])
            workers[name] = start("three", name, **clocks[name])
        else:
            toy.kill(running.pid)
            running.wait()
            running = toy.start(head, tmp_path / "flow.log", *command, **more)
    assert running.wait(400) == 0, (tmp_path / "flow.log").read_text()
    assert json.loads((head / "report.json").read_text()) == toy.expected(SEEDS)
    assert entries(tmp_path / "remote") == len(SEEDS)
    assert "up to date" in toy.dvc(head, "status")


def test_a_clone_that_comes_later_takes_what_there_is(
    server: Server, origin: Path, head: Path, start: Start, tmp_path: Path
) -> None:
    """And a stage that refuses its settings is not tried again, while the others go on. Clocks are wrong."""
    (head / "params.yaml").write_text("seeds: [1, 13]\n")
    start("later", "worker", **toy.wrong_clock(tmp_path / "behind", -20))
    said = flow(head, server, "later", code=1, **toy.wrong_clock(tmp_path / "ahead", 5))
    assert "train@toy-m-13 failed error: seed 13 is refused" in said
    assert "train@toy-m-1 done" in said
    assert (tmp_path / "worker.log").read_text().count("Finished in state Refused") == 1
    second = toy.clone(origin, tmp_path / "second", str(tmp_path / "remote"))
    (second / "params.yaml").write_text("seeds: [1]\n")
    assert "train@toy-m-1 unchanged" in flow(second, server, "later")
    assert json.loads((second / "report.json").read_text()) == toy.expected([1])


def test_a_remote_that_goes_away_stops_the_flow_and_loses_nothing(
    server: Server, head: Path, start: Start, tmp_path: Path
) -> None:
    start("cut", "worker")
    (head / "params.yaml").write_text("seeds: [0, 1]\n")
    remote, away, more = tmp_path / "remote", tmp_path / "away", {"PREFECT_API_URL": server.url, "TOY_STEPS": "20"}
    running = toy.start(head, tmp_path / "flow.log", sys.executable, "-c", toy.FLOW, "cut", **more)
    toy.until(lambda: toy.processes(tmp_path / "worker", "toy.py train"), "a stage trains")
    remote.rename(away)
    remote.write_text("no folder")  # DVC would make one
    assert running.wait(240) == 1
    said = (tmp_path / "flow.log").read_text()
    assert f"the DVC remote 'shared' ({remote})" in said
    assert "Traceback" not in said
    assert not (head / "report.json").exists()
    remote.unlink()
    away.rename(remote)
    flow(head, server, "cut")
    assert json.loads((head / "report.json").read_text()) == toy.expected([0, 1])
    assert entries(remote) == 2


def test_what_no_worker_can_do_is_said_at_once(server: Server, head: Path, start: Start, tmp_path: Path) -> None:
    assert flow(head, server, "h100", code=2).startswith("error: there is no work pool 'h100' (there are: ")
    start("old", "worker")
    (head / "README").write_text("newer")
    toy.git(head, "add", "README")
    assert flow(head, server, "old", code=2).startswith("error: README differs from the commit; commit it")
    toy.git(head, "commit", "-qm", "newer")
    said = flow(head, server, "old", code=2)
    assert "of the work pool 'old' there are only worker@" in said
    assert "check the commit out there and start the worker again" in said
    assert said.count("\n") == 1
    toy.set_remote(head, "/proc/nowhere")
    toy.git(head, "reset", "-q", "--hard", "HEAD~1")
    assert flow(head, server, "old", code=2).startswith("error: the DVC remote 'shared' (/proc/nowhere)")


def test_a_flow_that_is_told_to_end_cancels_what_workers_do(
    server: Server, head: Path, start: Start, tmp_path: Path
) -> None:
    start("ends", "worker")
    command = [sys.executable, "-c", toy.FLOW, "ends"]
    running = toy.start(head, tmp_path / "flow.log", *command, PREFECT_API_URL=server.url, TOY_STEPS="20")
    toy.until(lambda: toy.processes(tmp_path / "worker", "toy.py train"), "a stage trains")
    os.kill(running.pid, signal.SIGTERM)
    assert running.wait(90) == 1
    assert "cancelled" in (tmp_path / "flow.log").read_text()
    toy.until(lambda: not toy.processes(tmp_path / "worker", "toy.py train"), "the worker's stage has ended")


def test_nothing_is_started_where_it_could_do_nothing(server: Server, origin: Path, tmp_path: Path) -> None:
    command, more = [sys.executable, "-c", toy.WORKER, "none", "worker"], {"PREFECT_API_URL": server.url}
    assert "no DVC remote is the default here" in toy.call(origin, *command, code=2, **more)
    toy.set_remote(origin, str(tmp_path / "remote"))
    for each in (command, [sys.executable, "-c", toy.FLOW]):
        said = toy.call(origin, *each, code=2, PREFECT_API_URL="http://127.0.0.1:9/api")
        assert said.startswith("error: the Prefect server at http://127.0.0.1:9/api does not answer")
        assert said.count("\n") == 1
    assert "set PREFECT_API_URL" in toy.call(origin, *command, code=2)
