"""A grid of two seeds, and a working directory with its inputs and an empty MLflow database."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.params import Params
from pipeline.tracking.store import Store
from tests.helpers import tiny, write_inputs
from tests.tracking.made_up import FAMILY, LEARNER


@pytest.fixture(scope="session")
def grid() -> Params:
    """One learner with two seeds."""
    return tiny({"grid.families": [FAMILY], "grid.learners": [LEARNER], "grid.seeds": [0, 1]})


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory, grid: Params) -> Path:
    """A working directory with splits and template, and an MLflow database without runs (slow to create)."""
    root = tmp_path_factory.mktemp("inputs")
    write_inputs(root, grid, FAMILY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        Store.connect()
    return root


@pytest.fixture
def root(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `inputs` as the working directory, with tracking on."""
    shutil.copytree(inputs, tmp_path / "root")
    monkeypatch.chdir(tmp_path / "root")
    monkeypatch.setenv("NEUROP_TRACKING", "on")
    # An address of its own for each test: MLflow keeps one connection for an address.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/root/mlflow.db")
    return tmp_path / "root"
