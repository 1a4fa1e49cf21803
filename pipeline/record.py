"""Keep in Git what was made under the paper profile, in `results/paper/`: evaluations, their origin, best weights."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline import kept
from pipeline import params as settings
from pipeline.errors import UserError
from pipeline.evaluation import tables
from pipeline.files import read_json
from pipeline.paper import PROFILE, RESULTS
from pipeline.params import Params
from pipeline.training.recipe import Recipe, recipe, recipes
from pipeline.training.run import Places


def record(params: Params, root: Path = Path()) -> list[str]:
    """Add every evaluated run that `params` names and whose settings are the paper profile's; returns their names.

    A run that is there already is replaced. Raises `UserError` if no run has those settings.
    """
    profile = settings.load(root / PROFILE)
    added: list[str] = []
    families: dict[str, None] = {}  # in order, each once
    for of in recipes(params):
        folder = root / "data" / "evaluations" / str(of)
        if not folder.exists():
            continue
        accuracy, runs = tables.read(folder)
        mine = [run for run in runs if _of_profile(profile, of, run["seed"], root)]
        if mine:
            described = [_described(run, of, root) for run in mine]
            _merge(root / RESULTS / "evaluations" / str(of), accuracy, described)
            _keep_weights(of, [run["seed"] for run in mine], root)
            added += [f"{of}/{run['seed']}" for run in mine]
            families[of.family] = None
    for family in families:
        _copy_context(family, root)
    if not added:
        raise UserError(f"no evaluated run has the settings of {PROFILE}; copy it over params.yaml and run `dvc repro`")
    return added


def _of_profile(profile: Params, of: Recipe, seed: int, root: Path) -> bool:
    """Whether a run was made with the profile's settings, protocol and data."""
    config = read_json(Places(root).run(of.run(seed)) / "config.json")
    try:
        expected = recipe(profile, of.study, of.name).values()
    except UserError:  # a variant that the profile does not have
        return False
    config["settings"], config["training"] = settings.completed(of.learner, config["settings"], config["training"])
    return all(config[key] == value for key, value in expected.items())


def _described(run: dict[str, Any], of: Recipe, root: Path) -> dict[str, Any]:
    """The run with its provenance: commit, machine type, torch, time, peak memory, command."""
    log = read_json(Places(root).log(of.run(run["seed"])))
    provenance = {
        "command": of.run(run["seed"]).command,
        "commit": _commit(root),
        **{
            key: log[key]
            for key in ("device", "device_type", "threads", "torch", "seconds", "steps", "peak_memory_mib")
        },
    }
    return {**run, "provenance": provenance}


def _commit(root: Path) -> str:
    commit = _git(root, "rev-parse", "HEAD").strip()
    changes = _git(root, "status", "--porcelain", "--", "pipeline", "stages")
    return f"{commit[:12]} with changes" if changes else commit[:12]


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
    except (subprocess.CalledProcessError, FileNotFoundError):
        raise UserError("Git knows no commit here, which results must name; run `neurop record` in a clone") from None
    return done.stdout


def _merge(folder: Path, accuracy: pd.DataFrame, runs: list[dict[str, Any]]) -> None:
    """Replace the rows of these runs' seeds, keep the others, in the order of the seeds."""
    seeds = {run["seed"] for run in runs}
    rows = accuracy[accuracy["seed"].isin(seeds)]
    if (folder / "runs.json").exists():
        old, old_runs = tables.read(folder)
        rows = pd.concat([old[~old["seed"].isin(seeds)], rows])
        runs = runs + [run for run in old_runs if run["seed"] not in seeds]
    tables.write(folder, rows.sort_values("seed", kind="stable"), sorted(runs, key=lambda run: int(run["seed"])))


def _keep_weights(of: Recipe, seeds: list[int], root: Path) -> None:
    """The weights of the best recorded run, so that a clone can synthesise without training."""
    if of.ablated or not of.learner.startswith("meta_"):
        return
    _, runs = tables.read(root / RESULTS / "evaluations" / str(of))
    kept.keep(root, str(of), runs, {seed: Places(root).run(of.run(seed)) for seed in seeds})


def _copy_context(family: str, root: Path) -> None:
    """The split sizes and the drawing that the report shows beside the accuracies."""
    for source, target in (
        (root / "data" / "metrics" / "splits" / f"{family}.json", root / RESULTS / "splits" / f"{family}.json"),
        (root / "data" / "graphs" / family / "graph.svg", root / RESULTS / "graphs" / family / "graph.svg"),
    ):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
