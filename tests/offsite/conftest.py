"""A working directory of tiny settings, and the command as a person runs it on a machine with little installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import ROOT, changed, tiny_values, write_params

SMALL: dict[str, Any] = {
    "grid.families": ["sumfirst"],
    "grid.learners": ["direct_mlp", "meta_mlp"],
    "grid.seeds": [0],
    "training.sumfirst.steps": 3,
    "training.sumfirst.eval_every": 2,
}

# Imported by Python itself when it starts, in this process and in those that it starts.
FORBID = """
import sys

class Bare:
    def __init__(self, finders):
        self.finders = finders

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"dvc", "mlflow", "prefect", "pandas", "scipy", "matplotlib", "jinja2"}:
            return None
        return next((s for finder in self.finders if (s := finder.find_spec(name, path, target))), None)

sys.meta_path = [Bare(sys.meta_path)]
"""

Neurop = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A working directory that holds settings alone."""
    root = tmp_path / "here"
    root.mkdir()
    write_params(root / "params.yaml", changed(tiny_values(), SMALL))
    return root


@pytest.fixture
def neurop(tmp_path: Path) -> Neurop:
    """Run `neurop` in a directory, in a process that can import neither DVC, MLflow, Prefect nor pandas."""
    forbidding = tmp_path / "forbidding"
    forbidding.mkdir()
    (forbidding / "sitecustomize.py").write_text(FORBID)
    environment = {**os.environ, "PYTHONPATH": f"{forbidding}{os.pathsep}{ROOT}"}

    def call(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pipeline", *arguments]
        return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)

    return call
