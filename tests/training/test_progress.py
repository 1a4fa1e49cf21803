"""The progress line away from a terminal: printed now and then, and at the end."""

from __future__ import annotations

import pytest

from pipeline.training import progress
from pipeline.training.progress import ProgressLine


def test_the_last_line_says_how_far_and_how_good(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine("addmod/meta_mlp/0", 50, 10) as line:
        line.update(30, 0.25, 0.875)
        line.update(50)
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == "addmod/meta_mlp/0  50/50  loss 0.2500  val 0.875  0 s left\n"


def test_lines_are_printed_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10**6, 8))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    with ProgressLine("run", 4, 0) as line:
        for step in range(1, 5):
            line.update(step)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("run  4/4")
    assert 2 <= len(lines) <= 3


def test_before_the_first_step_no_loss_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine("run", 50, 0) as line:
        line.update(0, None, 0.25, 0.125)
    assert capsys.readouterr().err == "run  0/50  val 0.125 … 0.250  0 s left\n"


def test_before_the_first_evaluation_nothing_is_claimed(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine("run", 50, 10) as line:
        line.update(20)
    assert "  not evaluated yet  " in capsys.readouterr().err
