"""The example runs as a user runs it; its data are what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import torch

from examples import own_cnn

SCRIPT = Path(own_cnn.__file__)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False)


def test_it_runs_and_prints_accuracies() -> None:
    done = run("--steps", "3")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    shares = [float(text) for text in re.findall(r"\b[01]\.\d{3}\b", done.stdout)]
    assert len(shares) == 7 and all(0 <= share <= 1 for share in shares)


def test_a_wrong_setting_is_said_in_one_line() -> None:
    done = run("--steps", "0")
    assert (done.returncode, done.stderr) == (2, "error: --steps must be 1 or more, not 0\n")


def test_labels_say_which_mark_is_further_along_the_angle() -> None:
    angles = torch.tensor([0.0, torch.pi, torch.pi / 2])
    x, y = own_cnn.examples(angles, 400, torch.Generator().manual_seed(0))
    assert x.shape == (3, 400, 1, own_cnn.SIDE, own_cnn.SIDE)
    assert 0.35 < y.float().mean() < 0.65
    same, _ = own_cnn.examples(angles, 400, torch.Generator().manual_seed(0))
    assert torch.equal(x, same)


def test_no_held_out_angle_is_trained() -> None:
    gaps = (own_cnn.SEEN[:, None] - own_cnn.HELD_OUT[None]).abs()
    assert gaps.min() > torch.pi / 9
