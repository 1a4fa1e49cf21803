"""The parts of tracking: creation by several processes, identity, settings, points, Git tags."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline.evaluation.evaluate import evaluate_run
from pipeline.files import read_json
from pipeline.params import Params
from pipeline.tracking import address
from pipeline.tracking.describe import git, identity, settings
from pipeline.tracking.store import RUN, points
from pipeline.training.run import Places, RunId
from tests.helpers import ROOT
from tests.tracking.made_up import dump, named


def test_several_processes_may_create_the_database(
    root: Path, grid: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/new/place/mlflow.db")
    code = """
from pathlib import Path
from pipeline import params
from pipeline.tracking import address
from pipeline.tracking.store import Store
store = Store.connect()
with address.exclusive():
    experiment = store.experiment("sumfirst")
    store.parent(experiment, "sumfirst", "meta_mlp", "group", {"settings.x": "1"})
run = store.create(experiment, "parent", "sumfirst/meta_mlp/0", {}, 1.0)
store.log(run, {("m", i): (0.5, 1.0) for i in range(2500)})
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    processes = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(2)]
    assert [process.wait(300) for process in processes] == [0, 0]
    assert sorted(run["tags"][RUN] for run in dump().values()) == ["sumfirst/meta_mlp", *2 * ["sumfirst/meta_mlp/0"]]
    assert [len(run["points"]["m"]) for run in named(dump(), "sumfirst/meta_mlp/0")] == [2500] * 2


def test_the_identity_is_that_of_the_evaluation(trained: tuple[Places, RunId]) -> None:
    places, run = trained
    _, evaluated = evaluate_run(places.run(run), places.splits(run.study), torch.device("cpu"))
    config = read_json(places.run(run) / "config.json")
    assert identity(config) == evaluated["configuration"]
    assert identity(config | {"seed": 77}) != identity(config)
    assert identity(config | {"seed": 77}, seed=False) == identity(config, seed=False)


def test_settings_are_flat_texts() -> None:
    config = {"seed": 0, "settings": {"hidden": [1, 2], "budget": None, "activation": "silu"}, "selected": {"step": 1}}
    assert settings(config) == {
        "seed": "0",
        "settings.hidden": "[1, 2]",
        "settings.budget": "null",
        "settings.activation": "silu",
    }
    assert len(settings({"long": list(range(10_000))})["long"]) == 6000


def test_points_are_finite_numbers_with_a_section() -> None:
    values = {"step": 3, "loss": math.nan, "val_loss": math.inf, "val_accuracy": 0.5, "rank.W_E": 2.0, "std.b": None}
    assert points(values) == {("curve/val_accuracy", 3): 0.5, ("rank/W_E", 3): 2.0}


def test_the_commit_and_a_dirty_tree(tmp_path: Path) -> None:
    assert git(tmp_path) == {}

    def run(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    run("init")
    (tmp_path / "file").write_text("a")
    run("add", "file")
    run("commit", "-m", "first")
    clean = git(tmp_path)
    assert len(clean["mlflow.source.git.commit"]) == 40
    assert clean["neurop.dirty"] == "false"
    (tmp_path / "dvc.lock").write_text("rewritten after each stage")
    assert git(tmp_path) == clean
    (tmp_path / "file").write_text("b")
    assert git(tmp_path) == clean | {"neurop.dirty": "true"}


def test_messages_hold_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://someone:secret@db.example.org/mlflow")
    assert address.shown() == "postgresql://db.example.org/mlflow"
