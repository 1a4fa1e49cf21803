"""What a flow would run, where, and how a stage ends: without Prefect and without training."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from pipeline.errors import UserError
from pipeline.flows import devices, process
from pipeline.flows.board import DONE, FAILED, RUNNING, SKIPPED, WAITING, Board
from pipeline.flows.devices import Devices, here
from pipeline.flows.plan import Planned
from pipeline.flows.process import Cancelled, Processes, StageFailed

STAGES = [Planned("generate@addmod", ()), Planned("train@addmod-meta_mlp-0", ("generate@addmod",))]


def test_only_stages_that_train_take_a_device() -> None:
    assert [stage.trains for stage in STAGES] == [False, True]
    assert Planned("ablate@addmod-avg-0", ()).trains
    assert not Planned("evaluate@addmod-meta_mlp", ()).trains


def test_no_two_stages_share_a_device() -> None:
    pool, held, most = Devices(["0", "1"]), [], []

    def work() -> None:
        for _ in range(50):
            with pool.lease() as lease:
                held.append(lease.environment["CUDA_VISIBLE_DEVICES"])
                most.append(sorted(held))
                held.remove(lease.environment["CUDA_VISIBLE_DEVICES"])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 200
    assert all(names in (["0"], ["1"], ["0", "1"]) for names in most)


def test_a_lease_is_given_back_after_an_error() -> None:
    pool = Devices(["0"])
    with pytest.raises(ZeroDivisionError), pool.lease():
        raise ZeroDivisionError
    with pool.lease() as lease:
        assert lease.environment == {"CUDA_VISIBLE_DEVICES": "0"}


def test_devices_are_those_of_the_inherited_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "visible", lambda: ["3", "5"])
    monkeypatch.delenv("NEUROP_DEVICE", raising=False)
    assert here(per_device=2).names == ("3", "5", "3", "5")
    monkeypatch.setenv("NEUROP_DEVICE", "cpu")
    assert here(per_device=2, workers=3).names == ("", "", "")
    assert here().names == ("",) * len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("device", "why"),
    [
        ("cuda", "NEUROP_DEVICE is 'cuda', but this machine has 0 CUDA devices"),
        ("cuda:0", "set CUDA_VISIBLE_DEVICES, not NEUROP_DEVICE=cuda:0"),
        ("gpu", "NEUROP_DEVICE is 'gpu'; give auto, cpu, cuda"),
    ],
)
def test_a_device_that_no_stage_could_have_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, device: str, why: str
) -> None:
    monkeypatch.setenv("NEUROP_DEVICE", device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(":" in device))
    with pytest.raises(UserError, match=why):
        here()


def test_places_are_said() -> None:
    assert str(Devices(["0", "1", "0", "1"])) == "4 at a time, on GPU 0, 1"
    assert str(Devices(["", ""])) == "2 at a time, on processor cores"


def test_a_processor_core_changes_no_environment() -> None:
    with Devices([""]).lease() as lease:
        assert (lease.environment, lease.descriptor) == ({}, None)


def test_the_board_counts_and_names_failures() -> None:
    board = Board(STAGES)
    assert [row["state"] for row in board.rows()] == [WAITING, WAITING]
    board.set("generate@addmod", RUNNING)
    board.set("generate@addmod", FAILED, "no space left")
    board.finish()
    assert board.failed == [("generate@addmod", "no space left")]
    assert board.rows()[1]["state"] == SKIPPED
    assert board.summary() == "1 failed, 1 not run"
    assert not board.finished
    for stage in STAGES:
        board.set(stage.name, DONE)
    assert board.finished
    assert Board([]).summary() == "nothing to do"


@pytest.fixture
def as_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for `dvc`, whose text a test writes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "dvc.py"


def test_how_a_stage_ended(as_dvc: Path) -> None:
    as_dvc.write_text("print(\"Running stage 'x':\")")
    assert Processes().run("x").ran
    as_dvc.write_text("print(\"Stage 'x' didn't change, skipping\")")
    assert not Processes().run("x").ran


@pytest.mark.parametrize(("code", "again"), [(2, False), (1, True), (-9, True)])
def test_only_wrong_settings_are_not_tried_again(as_dvc: Path, code: int, again: bool) -> None:
    text = f"error: params.yaml: steps\nERROR: failed to reproduce 'x': failed to run: y, exited with {code}"
    as_dvc.write_text(f"import sys\nprint({text!r})\nsys.exit(255)")
    with pytest.raises(StageFailed, match=r"^error: params.yaml: steps$") as raised:
        Processes().run("x")
    assert raised.value.again is again
    assert (as_dvc.parent / process.log_file("x")).read_text().startswith("error:")


def test_ending_a_flow_ends_all_that_its_stages_started(as_dvc: Path) -> None:
    pid = as_dvc.parent / "pid"
    child = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    as_dvc.write_text(f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])")
    running, raised = Processes(), []

    def work() -> None:
        try:
            running.run("x")
        except Cancelled as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while not (pid.exists() and pid.read_text()):
        time.sleep(0.02)
    running.end()
    thread.join(30)
    assert len(raised) == 1
    assert _gone(int(pid.read_text()))
    with pytest.raises(Cancelled):
        running.run("x")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_stages_and_the_handlers_come_back(number: signal.Signals) -> None:
    before, called = signal.getsignal(number), []
    with process.ending_at(lambda: called.append(number)):
        os.kill(os.getpid(), number)
        time.sleep(0.01)
    assert called == [number]
    assert signal.getsignal(number) is before


def _gone(pid: int) -> bool:
    """Whether a process has ended, or is only waited for."""
    for _ in range(250):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
