"""kill -9 of stages, of the flow and of the Prefect server at random moments: no run is lost, none is counted twice."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from pipeline.flows.repair import repair
from tests.cluster import toy
from tests.cluster.conftest import Server

# A longer run by hand: FAULT_SEED=11 FAULT_ROUNDS=150 pytest -s
SEED, ROUNDS = int(os.environ.get("FAULT_SEED", "5")), int(os.environ.get("FAULT_ROUNDS", "24"))
SEEDS = range(10)
WORDS = {"stage": "toy.py train", "dvc": "dvc --wait-for-lock", "flow": "reproduce(work"}  # of a command line

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_killed_again_and_again_a_flow_ends_with_the_same_report(server: Server, tmp_path: Path) -> None:
    root, chance = toy.make(tmp_path / "head", SEEDS), random.Random(SEED)
    more, new_seeds = {"PREFECT_API_URL": server.url, "TOY_STEPS": "15"}, itertools.count(20)
    victims = list(itertools.islice(itertools.cycle(("stage", "dvc", "flow", "stage", "dvc", "server")), ROUNDS))
    chance.shuffle(victims)
    flow = _flow(root, tmp_path, more)

    def running(words: str) -> list[int]:
        """Processes of a flow; one that has ended is started again, with another seed if nothing was left to do."""
        nonlocal flow
        if flow.poll() is not None:
            if (root / "report.json").exists():
                (root / "params.yaml").write_text(f"seeds: {[*SEEDS, next(new_seeds)]}\n")
            flow = _flow(root, tmp_path, more)
        return toy.processes(root, words)

    for victim in victims:
        time.sleep(chance.uniform(0.2, 2.5))
        if victim == "server":
            server.kill()
            server.start()
        else:
            pids = toy.until(partial(running, WORDS[victim]), f"a {victim} process runs")
            toy.kill(pids[0])
    toy.stop(flow)
    toy.until(lambda: not toy.processes(root, "toy.py"), "what was left behind has ended")
    (root / "params.yaml").write_text(f"seeds: {list(SEEDS)}\n")
    toy.call(root, sys.executable, "-c", toy.FLOW, **more)
    assert json.loads((root / "report.json").read_text()).items() >= toy.expected(SEEDS).items()
    assert "up to date" in toy.dvc(root, "status")
    assert not [path for path in root.rglob("*.partial") if ".scratch" not in path.parts]


def test_what_a_killed_dvc_left_half_written_stops_nobody(server: Server, tmp_path: Path) -> None:
    root, more = toy.make(tmp_path / "head", [0]), {"PREFECT_API_URL": server.url}
    (root / ".dvc" / "tmp").mkdir()
    for text in ("", '{"read": {', "[1]"):
        (root / ".dvc" / "tmp" / "rwlock").write_text(text)
        assert repair(root)
        assert not repair(root)
    (root / ".dvc" / "tmp" / "rwlock").write_text('{"read": {')
    toy.call(root, sys.executable, "-c", toy.FLOW, **more)
    assert json.loads((root / "report.json").read_text()) == toy.expected([0])


def test_two_flows_at_once_do_each_stage_once(server: Server, tmp_path: Path) -> None:
    root, more = toy.make(tmp_path / "head", range(3)), {"PREFECT_API_URL": server.url}
    one, other = (_flow(root, tmp_path, more) for _ in range(2))
    assert (one.wait(180), other.wait(180)) == (0, 0), (tmp_path / "flow.log").read_text()
    assert json.loads((root / "report.json").read_text()) == toy.expected(range(3))
    states = (tmp_path / "flow.log").read_text()
    for seed in range(3):
        assert f"train@toy-m-{seed} done" in states
        assert states.count(f"train@toy-m-{seed} done") + states.count(f"train@toy-m-{seed} unchanged") == 2


def test_a_full_disk_is_said_and_nothing_is_half_written(server: Server, tmp_path: Path) -> None:
    """What writing to a full disk raises stands for the disk."""
    root, more = toy.make(tmp_path / "head", range(2)), {"PREFECT_API_URL": server.url}
    program = (root / "toy.py").read_text()
    full = 'raise OSError(28, "No space left on device")'
    (root / "toy.py").write_text(program.replace("    path.parent.mkdir", f"    {full}\n    path.parent.mkdir", 1))
    said = toy.call(root, sys.executable, "-c", toy.FLOW, code=1, **more)
    assert "generate failed" in said
    assert "No space left on device" in said
    assert not (root / "data").exists()
    (root / "toy.py").write_text(program)
    toy.call(root, sys.executable, "-c", toy.FLOW, **more)
    assert json.loads((root / "report.json").read_text()) == toy.expected(range(2))


def _flow(root: Path, tmp_path: Path, more: dict[str, str]) -> subprocess.Popen[bytes]:
    return toy.start(root, tmp_path / "flow.log", sys.executable, "-c", toy.FLOW, **more)
