"""`neurop train --missing` through the real program, with nothing installed that training does not need."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

from pipeline.offsite.missing import missing
from pipeline.offsite.session import train_all
from pipeline.params import Params
from pipeline.training.checkpoint import FILE as CHECKPOINT
from pipeline.training.recipe import RunId
from pipeline.training.run import Places, train
from pipeline.training.stop import Stop
from tests.helpers import file_bytes, tiny, write_inputs
from tests.offsite.conftest import SMALL, Neurop

CPU = torch.device("cpu")
RUNS = [RunId("sumfirst", learner, 0) for learner in ("direct_mlp", "meta_mlp")]


@pytest.fixture
def small() -> Params:
    return tiny(SMALL)


def unbroken(params: Params, root: Path, run: RunId) -> dict[str, bytes]:
    """The files of a run that a process of its own trains in one go."""
    places = Places(root)
    write_inputs(root, params, run.study)
    train(params, run, places=places)
    return file_bytes(places.run(run))


def test_all_that_is_missing_is_trained_to_the_same_bytes(
    here: Path, neurop: Neurop, small: Params, tmp_path: Path
) -> None:
    done = neurop(here, "train", "--missing")
    assert done.returncode == 0, done.stderr
    assert "2 trained, 0 half-way, 0 missing" in done.stdout
    assert "[2 of 2] sumfirst/meta_mlp/0" in done.stderr
    for run in RUNS:
        assert file_bytes(Places(here).run(run)) == unbroken(small, tmp_path / run.name, run)
    done = neurop(here, "train", "--missing")
    assert (done.returncode, done.stdout) == (0, "0 trained, 0 half-way, 0 missing\n")


def test_slices_go_on_from_the_checkpoint(here: Path, neurop: Neurop, small: Params, tmp_path: Path) -> None:
    only = ("--only", "sumfirst-meta_mlp")
    done = neurop(here, "train", "--missing", "--minutes", "0", *only)
    assert done.returncode == 75, done.stderr
    assert "0 trained, 1 half-way, 0 missing" in done.stdout
    assert (
        neurop(here, "train", "--missing", "--dry-run", *only).stdout == "sumfirst/meta_mlp/0 (half-way)\n1 missing\n"
    )
    done = neurop(here, "train", "--missing", "--minutes", "60", *only)
    assert done.returncode == 0, done.stderr
    assert file_bytes(Places(here).run(RUNS[1])) == unbroken(small, tmp_path / "unbroken", RUNS[1])


def test_a_dry_run_trains_nothing(here: Path, neurop: Neurop) -> None:
    done = neurop(here, "train", "--missing", "--dry-run")
    assert (done.returncode, done.stdout) == (0, "sumfirst/direct_mlp/0\nsumfirst/meta_mlp/0\n2 missing\n")
    assert not (here / "data" / "runs").exists()
    assert not (here / ".scratch").exists()


def test_nothing_is_there_but_what_training_needs(here: Path, neurop: Neurop) -> None:
    done = neurop(here, "report")
    assert done.returncode != 0
    assert "No module named 'pandas'" in done.stderr


@pytest.mark.parametrize(
    "options",
    [[], ["--missing", "--minutes", "-1"], ["--missing", "--minutes", "soon"], ["--missing", "--only", "../sumfirst"]],
    ids=str,
)
def test_wrong_options_are_refused_in_one_line(here: Path, neurop: Neurop, options: list[str]) -> None:
    done = neurop(here, "train", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert [path.name for path in here.iterdir()] == ["params.yaml"]


def test_what_fails_is_left_out_and_said(here: Path, neurop: Neurop) -> None:
    places = Places(here)
    item, _ = missing(tiny(SMALL), places, CPU)
    path = item.scratch(places) / CHECKPOINT
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged")
    done = neurop(here, "train", "--missing")
    assert done.returncode == 1
    assert f"{path.relative_to(here)} cannot be read" in done.stderr
    assert "1 trained, 1 half-way, 0 missing" in done.stdout
    assert places.run(RUNS[1]).exists()


def test_a_signal_stops_the_session_with_a_checkpoint(small: Params, here: Path) -> None:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        stop, places = Stop(0.0), Places(here)
        items = missing(small, places, CPU)
        os.kill(os.getpid(), signal.SIGTERM)
        outcome = train_all(items, stop, places)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert outcome.trained == outcome.failed == []
    assert stop.exit_code == 128 + signal.SIGTERM
    assert not places.run(RUNS[0]).exists()
    assert not places.run(RUNS[1]).exists()
