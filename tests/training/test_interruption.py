"""A real SIGTERM to a real stage: exit code, checkpoint, and the same bytes after it is run again."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.packs import Pack
from pipeline.params import Params
from pipeline.training.recipe import pack_runs
from pipeline.training.run import Places, RunId, train
from tests.helpers import ROOT, file_bytes, tiny_values, write_inputs, write_params

RUNS = (RunId("sumfirst", "meta_gmlp", 1), pack_runs("sumfirst", "meta_gmlp", Pack((1, 2, 3)))[1])


def stage(run: RunId, directory: Path) -> subprocess.Popen[str]:
    """`python -m stages.train` of the run in another working directory."""
    command = [sys.executable, *run.command.split()[1:]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=directory, env=environment, stderr=subprocess.PIPE, text=True)


def terminate_at(pipe: Path, content: bytes, process: subprocess.Popen[str]) -> None:
    """Send SIGTERM once the process waits for the named pipe; then let it read its content."""
    descriptor = None
    while descriptor is None:
        assert process.poll() is None, process.communicate()[1]
        try:
            descriptor = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:  # nobody reads yet
                raise
            time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    os.write(descriptor, content)
    os.close(descriptor)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.item)
def test_a_terminated_stage_resumes_to_the_same_bytes(run: RunId, tmp_path: Path, params: Params) -> None:
    interrupted, unbroken = Places(tmp_path / "interrupted"), Places(tmp_path / "unbroken")
    for places in (interrupted, unbroken):
        write_inputs(places.root, params, run.study)

    # As a named pipe the settings hold the stage in a known place, before its first step.
    settings = interrupted.root / "params.yaml"
    write_params(settings, tiny_values())
    content = settings.read_bytes()
    settings.unlink()
    os.mkfifo(settings)
    process = stage(run, interrupted.root)
    terminate_at(settings, content, process)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert f"{run.title}: stopped at step 1; run the same command again" in said
    assert "Traceback" not in said
    assert not interrupted.output(run).exists()
    assert len(list((interrupted.root / ".scratch").rglob("checkpoint.safetensors"))) == 1

    settings.unlink()
    settings.write_bytes(content)
    process = stage(run, interrupted.root)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    train(params, run, places=unbroken)
    for each in run.together:
        assert file_bytes(interrupted.run(each)) == file_bytes(unbroken.run(each))
        assert len(file_bytes(unbroken.run(each))) == 4
    assert not list((interrupted.root / ".scratch").rglob("checkpoint.safetensors"))
