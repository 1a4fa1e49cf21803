"""A run cut into slices by `--max-seconds`: exit codes, and the same bytes as an unbroken one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.training.run import Places, RunId, train
from pipeline.training.stop import EXIT_TIME_IS_UP
from tests.helpers import ROOT, changed, file_bytes, tiny, tiny_values, write_inputs, write_params

RUN = RunId("sumfirst", "meta_gmlp", 1)
SHORT = {"training.sumfirst.steps": 3, "training.sumfirst.eval_every": 2}


def stage(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """`python -m stages.train` of the run in another working directory."""
    command = [sys.executable, "-m", "stages.train", RUN.study, RUN.name, str(RUN.seed), *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def here(tmp_path: Path) -> Places:
    """A working directory in which a run takes three steps."""
    write_inputs(tmp_path, tiny(SHORT), RUN.study)
    write_params(tmp_path / "params.yaml", changed(tiny_values(), SHORT))
    return Places(tmp_path)


def test_slices_of_one_step_end_in_the_same_bytes(here: Places, tmp_path: Path) -> None:
    for step in (1, 2, 3):
        done = stage(here.root, "--max-seconds", "0")
        assert done.returncode == EXIT_TIME_IS_UP == 75, done.stderr
        assert done.stderr.splitlines()[-1].startswith(f"{RUN}: stopped at step {step}; run the same command again")
        assert not here.run(RUN).exists()
    done = stage(here.root, "--max-seconds", "0")
    assert done.returncode == 0, done.stderr
    unbroken = Places(tmp_path / "unbroken")
    write_inputs(unbroken.root, tiny(SHORT), RUN.study)
    train(tiny(SHORT), RUN, places=unbroken)
    assert file_bytes(here.run(RUN)) == file_bytes(unbroken.run(RUN))
    assert not list(here.root.rglob("checkpoint.safetensors"))


def test_time_enough_is_no_interruption(here: Places) -> None:
    assert stage(here.root, "--max-seconds", "3600").returncode == 0
    assert here.run(RUN).exists()


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "1e3", "ten", "", "999999999"])
def test_no_time_is_refused(here: Places, value: str) -> None:
    before = sorted(here.root.rglob("*"))
    done = stage(here.root, f"--max-seconds={value}")
    assert done.returncode == 2
    assert done.stderr.startswith("error: argument --max-seconds: ")
    assert done.stderr.count("\n") == 1
    assert sorted(here.root.rglob("*")) == before
