"""Training with tracking that is missing, down, dying or stuck: the same bytes, and one line."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.params import Params
from pipeline.tracking import Follower, follower
from pipeline.training.loop import Hooks
from pipeline.training.run import Places, train
from tests.helpers import ROOT, file_bytes
from tests.tracking.made_up import FIRST, row


def poisoned(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "poison" / "mlflow").mkdir(parents=True)
    (root / "poison" / "mlflow" / "__init__.py").write_text("raise ImportError('half installed')\n")
    monkeypatch.setenv("PYTHONPATH", str(root / "poison"))


def missing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)


def down(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{listener.getsockname()[1]}")


def unable(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(root / "no-such-python"))


def dying(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("true"))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (poisoned, "MLflow is not installed (half installed)"),
        (missing, "MLflow is not installed"),
        (down, "does not answer at http://127.0.0.1:"),
        (unable, "its process does not start"),
        (dying, "its process"),
    ],
)
def test_training_without_tracking_is_unharmed_and_says_so_once(
    spoil: Callable[[Path, pytest.MonkeyPatch], None],
    reason: str,
    root: Path,
    grid: Params,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    spoil(root, monkeypatch)
    with Follower(FIRST, grid) as following:
        train(grid, FIRST, Hooks(on_row=following.send))
        if following.process is not None:
            following.process.wait(300)
        following.send(0, row(0, 13))
        following.send(0, row(0, 14))
    followed = file_bytes(Places().run(FIRST))
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("tracking")]
    assert len(said) == 1
    assert reason in said[0]
    assert said[0].endswith("training goes on, and `neurop publish` completes the curves")
    train(grid, FIRST)
    assert file_bytes(Places().run(FIRST)) == followed


def test_a_follower_that_reads_nothing_holds_nothing_up(
    root: Path, grid: Params, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    idle = root / "idle"
    idle.write_text("#!/bin/sh\nexec sleep 600\n")
    idle.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(idle))
    monkeypatch.setattr(follower, "SECONDS_FOR_ANSWER", 0.0)
    with Follower(FIRST, grid) as following:
        for step in range(10 * follower.PIPE_BYTES // 100):  # far more than the pipe holds
            following.send(0, row(0, step))
        process = following.process
    assert process is not None
    assert process.poll() is None
    process.kill()
    process.wait()
    assert capsys.readouterr().err.count("some rows are left out") == 1


def test_wrong_inputs_are_left_for_training_to_name(
    root: Path, grid: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree("data")
    with Follower(FIRST, grid) as following:
        assert following.process is None
    assert capsys.readouterr() == ("", "")


def test_training_imports_no_mlflow() -> None:
    code = "import sys, stages.train; sys.exit(any(name.split('.')[0] == 'mlflow' for name in sys.modules))"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
