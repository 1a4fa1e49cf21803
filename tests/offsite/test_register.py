"""Imported runs in a real DVC repository: `dvc repro` goes on from them and trains nothing again."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.test_pipeline import YAML_FILE, copy_project, dvc, ran, run, stale, tiny_settings, write

NEUROP = (sys.executable, "-m", "pipeline")
STAGES = {"train@sumfirst-direct_mlp-0-1", "train@sumfirst-direct_mlp-2"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone with DVC in which nothing has run, and settings of one learner with a pack and a seed."""
    root = tmp_path / "checkout"
    root.mkdir()
    copy_project(root)
    settings = tiny_settings()
    settings["grid"] = {"families": ["sumfirst"], "learners": ["direct_mlp"], "seeds": ["0-1", 2]}
    settings["training"]["sumfirst"].update(steps=4, eval_every=2)
    settings["ablations"]["families"] = []
    write(root, settings)
    run(root, "git", "init", "-q")
    dvc(root, "init", "-q")
    return root


def test_dvc_takes_imported_runs_for_done(checkout: Path, tmp_path: Path) -> None:
    away = tmp_path / "away"
    away.mkdir()
    for name in ("pipeline", "stages", "params.yaml"):
        (away / name).symlink_to(checkout / name)
    run(away, *NEUROP, "train", "--missing")
    run(away, *NEUROP, "bundle", "out.zip")

    assert "2 imported, 0 here already, 0 kept" in run(checkout, *NEUROP, "import", str(away / "out.zip"))
    assert set(YAML_FILE.load((checkout / "dvc.lock").read_text())["stages"]) == STAGES
    assert stale(checkout, "train") == set()
    weights = checkout / "data/runs/sumfirst/direct_mlp/0-1/1/weights.safetensors"
    before = weights.read_bytes()
    done = ran(dvc(checkout, "repro", "evaluate@sumfirst-direct_mlp"))
    assert done == {"generate@sumfirst", "graph@sumfirst", "evaluate@sumfirst-direct_mlp"}
    assert weights.read_bytes() == before

    # Twice is harmless, and what is lost comes back from DVC's cache.
    assert "0 imported, 2 here already, 0 kept" in run(checkout, *NEUROP, "import", str(away / "out.zip"))
    shutil.rmtree(weights.parents[1])
    assert ran(dvc(checkout, "repro", "evaluate@sumfirst-direct_mlp")) == set()
    assert weights.read_bytes() == before


def test_what_is_trained_beside_dvc_is_told_to_it(checkout: Path) -> None:
    assert "2 trained, 0 half-way, 0 missing" in run(checkout, *NEUROP, "train", "--missing")
    assert set(YAML_FILE.load((checkout / "dvc.lock").read_text())["stages"]) == STAGES
    assert stale(checkout, "train") == set()
