"""The example runs on a trained run as a user runs it, and refuses one that is tied to its tokens."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.training.run import Places, RunId, train
from tests.helpers import ROOT, tiny, write_inputs

WIDENED = {
    "scale": "linear",
    "relations": ["ratio"],
    "fourier_relation": 2,
    "coordinate": False,
    "theta0": True,
    "init_mode": "per_group",
}
RUN = RunId("addmod", "meta_gnn", 0)


def trained(root: Path, changes: dict[str, object]) -> Path:
    params = tiny({f"learners.addmod.meta_gnn.{key}": value for key, value in changes.items()})
    write_inputs(root, params, "addmod")
    train(params, RUN, places=Places(root))
    return Places(root).run(RUN)


def example(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "examples.larger_primes", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_it_solves_every_pair_or_counts_what_it_does_not(tmp_path: Path) -> None:
    done = example(str(trained(tmp_path, WIDENED)), "--primes", "29", "31")
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^\| (\d+) \| ([01]\.\d{4}) \| (\d+) \|$", done.stdout, re.MULTILINE)
    assert [(int(p), int(of)) for p, _, of in rows] == [(29, 841), (31, 961)]
    assert all(0 <= float(share) <= 1 for _, share, _ in rows)


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({"init_mode": "per_group"}, [], "tied to the tokens"),
        (WIDENED | {"init_mode": "all"}, [], "tied to the tokens"),
        (WIDENED, ["--primes", "33"], "33, which is not a prime"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    tmp_path: Path, changes: dict[str, object], arguments: list[str], message: str
) -> None:
    done = example(str(trained(tmp_path, changes)), *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
