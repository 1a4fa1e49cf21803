"""The whole pipeline on tiny settings with real DVC: what runs, what reruns, and that nothing else does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
YAML_FILE = YAML(typ="safe", pure=True)
COPIED = ("pipeline", "stages", "profiles", "results", "dvc.yaml", ".dvcignore", ".gitignore", "pyproject.toml")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone's worth of files with tiny settings, after one `dvc repro`."""
    root = tmp_path_factory.mktemp("workspace")
    copy_project(root)
    write(root, tiny_settings())
    run(root, "git", "init", "-q")
    run(root, "git", "config", "user.name", "tests")
    run(root, "git", "config", "user.email", "tests@example.org")
    run(root, "git", "add", "-A")
    run(root, "git", "commit", "-qm", "tiny")
    dvc(root, "init", "-q")
    dvc(root, "repro")
    return root


def copy_project(root: Path) -> None:
    """What a clone has of the pipeline, without its settings."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, root / name)


def tiny_settings() -> dict[str, Any]:
    settings = YAML_FILE.load((ROOT / "profiles" / "laptop.yaml").read_text())
    settings["grid"] = {"families": ["sumfirst", "addmod"], "learners": ["direct_mlp", "meta_mlp"], "seeds": [0]}
    settings["programs"]["sumfirst"].update(train=80, test=16, val=10, ood=10)
    for family in ("sumfirst", "addmod"):
        settings["training"][family].update(steps=20, batch=16, eval_every=10)
    settings["ablations"].update(rows=["avg", "separate"], seeds=[0])
    settings["ablations"]["training"].update(steps=4, batch=16, eval_every=4)
    settings["ablations"]["settings"].update(d_h=2, width=4, intent_hidden=[4])
    settings["evaluation"]["bootstrap"] = 50
    return settings


def write(root: Path, settings: dict[str, Any]) -> None:
    with (root / "params.yaml").open("w") as file:
        YAML_FILE.dump(settings, file)


def run(root: Path, *command: str) -> str:
    here = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "PATH": here + os.pathsep + os.environ["PATH"],
        "NEUROP_TRACKING": "off",
        "DVC_NO_ANALYTICS": "1",
        "NO_COLOR": "1",
    }
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def dvc(root: Path, *arguments: str) -> str:
    return run(root, sys.executable, "-m", "dvc", *arguments)


def ran(output: str) -> set[str]:
    return set(re.findall(r"Running stage '([^']+)'", output))


def stale(root: Path, *kinds: str) -> set[str]:
    """The stages (of these kinds) that DVC would rerun because of their own inputs."""
    names = set(YAML_FILE.load(dvc(root, "status", "--json")))
    return {name for name in names if not kinds or name.startswith(kinds)}


@pytest.fixture
def restored(workspace: Path):
    """The workspace with settings and code put back after the test, outputs from the cache."""
    settings = (workspace / "params.yaml").read_text()
    yield workspace
    (workspace / "params.yaml").write_text(settings)
    for name in ("pipeline", "stages"):
        shutil.copytree(ROOT / name, workspace / name, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)


def test_everything_is_there_and_nothing_is_stale(workspace: Path) -> None:
    for family in ("sumfirst", "addmod"):
        for learner in ("direct_mlp", "meta_mlp"):
            files = {p.name for p in (workspace / "data" / "runs" / family / learner / "0").iterdir()}
            assert files == {"weights.safetensors", "last.safetensors", "history.parquet", "config.json"}
            assert (workspace / "data" / "evaluations" / family / learner / "accuracy.csv").exists()
        findings = workspace / "data" / "analyses" / family
        assert {path.name for path in findings.iterdir()} == {"meta_mlp", "comparison"}
        assert f"analyses/{family}/meta_mlp/sensitivity/" in (workspace / "reports" / "index.html").read_text()
    for row in ("avg", "separate"):
        assert (workspace / "data" / "runs" / "ablations-addmod" / row / "0" / "weights.safetensors").exists()
        assert (workspace / "data" / "evaluations" / "ablations-addmod" / row / "accuracy.csv").exists()
    table = (workspace / "reports" / "tables" / "table5.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in table[1:]] == ["avg", "separate"]
    assert "<html" in (workspace / "reports" / "index.html").read_text()
    assert stale(workspace) == set()
    assert ran(dvc(workspace, "repro")) == set()


def test_adding_a_seed_trains_that_seed_alone(restored: Path) -> None:
    settings = tiny_settings()
    settings["grid"]["seeds"] = [0, 1]
    write(restored, settings)
    weights = restored / "data/runs/addmod/meta_mlp/0/weights.safetensors"
    before = weights.read_bytes()
    done = ran(dvc(restored, "repro", "evaluate@addmod-meta_mlp"))
    assert done == {"train@addmod-meta_mlp-1", "evaluate@addmod-meta_mlp"}
    assert weights.read_bytes() == before
    table = (restored / "data/evaluations/addmod/meta_mlp/accuracy.csv").read_text()
    assert {line.split(",")[0] for line in table.splitlines()[1:]} == {"0", "1"}


def test_a_pack_of_seeds_is_one_stage_and_nothing_behind_it_notices(restored: Path) -> None:
    settings = tiny_settings()
    settings["grid"]["seeds"] = [0, "1-2"]
    write(restored, settings)
    done = ran(dvc(restored, "repro", "evaluate@addmod-meta_mlp"))
    assert done == {"train@addmod-meta_mlp-1-2", "evaluate@addmod-meta_mlp"}
    pack = restored / "data/runs/addmod/meta_mlp/1-2"
    files = {path.relative_to(pack).as_posix() for path in pack.rglob("*.*")}
    names = ("weights.safetensors", "last.safetensors", "history.parquet", "config.json")
    assert files == {f"{seed}/{name}" for seed in (1, 2) for name in names}
    table = (restored / "data/evaluations/addmod/meta_mlp/accuracy.csv").read_text()
    assert {line.split(",")[0] for line in table.splitlines()[1:]} == {"0", "1", "2"}
    neurop = [sys.executable, "-c", "from pipeline.cli import script; script()"]
    said = run(restored, *neurop, "synthesize", "addmod", "37", "-o", "add37.safetensors", "--seed", "2")
    assert "written by addmod/meta_mlp/2" in said
    said = run(restored, *neurop, "status")
    assert "train@sumfirst-meta_mlp-1-2" in said
    assert "train@addmod-meta_mlp-1-2" not in said
    write(restored, {**settings, "grid": {**settings["grid"], "seeds": [0, "1-3"]}})
    assert stale(restored, "train@addmod-meta_mlp") == {"train@addmod-meta_mlp-1-3"}


def test_the_flow_runs_what_is_stale_and_what_is_behind_it(restored: Path) -> None:
    """The same outputs as `dvc repro`, stage by stage in processes of their own; then there is nothing to do."""
    settings = tiny_settings()
    settings["grid"]["seeds"] = [0, 1]
    write(restored, settings)
    neurop = [sys.executable, "-m", "pipeline", "flow"]
    planned = run(restored, *neurop, "evaluate@sumfirst-meta_mlp", "--dry-run").splitlines()
    assert planned == ["train@sumfirst-meta_mlp-1", "evaluate@sumfirst-meta_mlp after train@sumfirst-meta_mlp-1"]
    assert run(restored, *neurop, "evaluate@sumfirst-meta_mlp").splitlines()[-1] == "2 done"
    assert stale(restored, "train@sumfirst-meta_mlp", "evaluate@sumfirst-meta_mlp") == set()
    assert run(restored, *neurop, "evaluate@sumfirst-meta_mlp").splitlines()[-1] == "nothing to do"
    settings["programs"]["sumfirst"]["train"] = "many"
    write(restored, settings)
    wrong = subprocess.run([*neurop, "report"], cwd=restored, capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)


def test_the_report_from_mlflow_alone_has_the_same_bytes(workspace: Path, tmp_path: Path) -> None:
    """In a directory that holds the settings and the report to compare with, and nothing of `data/`."""
    neurop = ["env", "NEUROP_TRACKING=on", f"MLFLOW_TRACKING_URI=sqlite:///{tmp_path}/mlflow.db", sys.executable, "-m"]
    assert "published, 0 already there" in run(workspace, *neurop, "pipeline", "publish")
    for name in ("params.yaml", "pipeline", "reports"):
        (tmp_path / name).symlink_to(workspace / name)
    said = run(tmp_path, *neurop, "pipeline", "report", "--from", "mlflow", "--check")
    assert said.splitlines()[-1] == "reports: regenerated to the same bytes"
    run(tmp_path, *neurop, "pipeline", "report", "--from", "mlflow", "-o", "other")
    assert (tmp_path / "other" / "index.html").read_bytes() == (workspace / "reports" / "index.html").read_bytes()


def test_changing_a_learner_reruns_that_learner_alone(restored: Path) -> None:
    settings = tiny_settings()
    settings["learners"]["addmod"]["meta_mlp"]["learning_rate"] = 1e-4
    write(restored, settings)
    assert stale(restored, "generate", "graph", "train") == {"train@addmod-meta_mlp-0"}


def test_changing_a_variant_reruns_that_variant_alone(restored: Path) -> None:
    settings = tiny_settings()
    settings["ablations"]["variants"]["avg"]["use_norm"] = True
    settings["ablations"]["variants"]["sum"]["use_norm"] = True
    write(restored, settings)
    other = restored / "data/runs/ablations-addmod/separate/0/weights.safetensors"
    before = other.read_bytes()
    assert stale(restored, "generate", "graph", "train", "ablate") == {"ablate@addmod-avg-0"}
    assert ran(dvc(restored, "repro", "evaluate_ablations")) == {"ablate@addmod-avg-0", "evaluate_ablations@addmod"}
    assert other.read_bytes() == before
    write(restored, tiny_settings())
    assert ran(dvc(restored, "repro", "evaluate_ablations")) == set()  # from the cache


def test_adding_a_seed_of_the_ablations_trains_that_seed_of_each(restored: Path) -> None:
    settings = tiny_settings()
    settings["ablations"]["seeds"] = [0, 1]
    write(restored, settings)
    assert stale(restored, "train", "ablate") == {"ablate@addmod-avg-1", "ablate@addmod-separate-1"}


def test_no_family_means_no_ablations(restored: Path) -> None:
    settings = tiny_settings()
    settings["ablations"]["families"] = []
    write(restored, settings)
    assert "abl" not in dvc(restored, "stage", "list", "--name-only")
    assert ran(dvc(restored, "repro", "--single-item", "report")) == {"report"}
    assert not (restored / "reports" / "tables" / "table5.csv").exists()


def test_changing_data_settings_reruns_that_family(restored: Path) -> None:
    settings = tiny_settings()
    settings["programs"]["sumfirst"]["seed"] = 1
    write(restored, settings)
    expected = {"generate@sumfirst", "graph@sumfirst", "train@sumfirst-direct_mlp-0", "train@sumfirst-meta_mlp-0"}
    assert stale(restored, "generate", "graph", "train", "ablate") == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("pipeline/learners/meta_mlp.py", {"train@addmod-meta_mlp-0", "train@sumfirst-meta_mlp-0"}),
        ("pipeline/learners/meta_gnn.py", {"ablate@addmod-avg-0", "ablate@addmod-separate-0"}),
        ("pipeline/params/training.py", set()),
        ("stages/generate.py", {"generate@addmod", "generate@sumfirst"}),
    ],
)
def test_a_code_change_reruns_what_it_touches(restored: Path, path: str, expected: set[str]) -> None:
    file = restored / path
    file.write_text(file.read_text() + "\n# changed\n")
    assert stale(restored, "generate", "train", "ablate") == expected


def test_a_lost_output_comes_back_from_the_cache_without_training(restored: Path) -> None:
    directory = restored / "data/runs/sumfirst/direct_mlp/0"
    before = (directory / "weights.safetensors").read_bytes()
    shutil.rmtree(directory)
    output = dvc(restored, "repro", "train@sumfirst-direct_mlp-0")
    assert ran(output) == set()
    assert (directory / "weights.safetensors").read_bytes() == before


def test_a_program_from_intent_to_answer(workspace: Path) -> None:
    neurop = [sys.executable, "-c", "from pipeline.cli import script; script()"]
    said = run(workspace, *neurop, "synthesize", "addmod", "37", "-o", "add37.safetensors")
    assert "3392 weights written by addmod/meta_mlp/0" in said
    answer = int(run(workspace, *neurop, "run", "add37.safetensors", "5", "36"))
    assert 0 <= answer < 47
    checked = subprocess.run(
        [*neurop, "verify", "add37.safetensors"], cwd=workspace, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 1  # twenty steps teach nothing
    assert re.search(r"not verified: \d+ of 1369 right .* all inputs there are of addmod p=37", checked.stdout)


def test_bad_settings_stop_a_stage_in_one_line_and_leave_outputs(restored: Path) -> None:
    settings = tiny_settings()
    settings["programs"]["sumfirst"]["train"] = "many"
    write(restored, settings)
    before = sorted((restored / "data" / "splits" / "sumfirst").iterdir())
    done = subprocess.run(
        [sys.executable, "-m", "stages.generate", "sumfirst"], cwd=restored, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: params.yaml: programs.sumfirst.train:")
    assert done.stderr.count("\n") == 1
    assert sorted((restored / "data" / "splits" / "sumfirst").iterdir()) == before
