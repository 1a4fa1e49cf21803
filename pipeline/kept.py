"""Weights kept in Git beside the results of the full protocol: of each meta-learner, the seed that val selects."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.evaluation.evaluate import configuration_digest
from pipeline.files import read_json, replacing_directory
from pipeline.paper import RESULTS
from pipeline.params import FAMILIES, LEARNERS

WEIGHTS = RESULTS / "weights"
FILES = ("config.json", "weights.safetensors")
# All kept weights together: a clone stays small.
MOST_BYTES = 20 * 10**6


def best(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The run that val selects: accuracy, then loss, then the lower seed."""
    return min(runs, key=lambda r: (-r["selected"]["val_accuracy"], r["selected"]["val_loss"], r["seed"]))


def keep(root: Path, cell: str, runs: list[dict[str, Any]], directories: dict[int, Path]) -> bool:
    """Keep the weights of a cell's best run if they are at hand and fit, in place of an earlier best's.

    Args:
        cell: `family/learner`.
        runs: all recorded runs of the cell.
        directories: where the outputs of runs are, by seed.

    Weights that are no longer the best are removed. Returns whether the best run's weights are kept.
    """
    chosen, target = best(runs), root / WEIGHTS / cell
    source = directories.get(chosen["seed"])
    if source is None and target.exists() and _digest(target) == chosen["configuration"]:
        return True
    shutil.rmtree(target, ignore_errors=True)
    if source is None:
        return False
    others = sum(path.stat().st_size for path in (root / WEIGHTS).rglob("*") if path.is_file())
    if others + sum((source / name).stat().st_size for name in FILES) > MOST_BYTES:
        return False
    with replacing_directory(target) as temporary:
        for name in FILES:
            shutil.copyfile(source / name, temporary / name)
    return True


def kept_runs(root: Path = Path()) -> dict[str, dict[str, Path]]:
    """The directories of all kept runs, by family and learner."""
    found: dict[str, dict[str, Path]] = {}
    for family in FAMILIES:
        places = {name: root / WEIGHTS / family / name for name in LEARNERS}
        here = {name: place for name, place in places.items() if (place / "config.json").exists()}
        if here:
            found[family] = here
    return found


def choose(family: str, learner: str | None, root: Path = Path()) -> Path:
    """The kept run of a family with the best val accuracy, or that of one learner.

    Raises `UserError` if there is none.
    """
    names = LEARNERS if learner is None else (learner,)
    places = [place for name, place in kept_runs(root).get(family, {}).items() if name in names]
    runs = [read_json(place / "config.json") | {"place": place} for place in places]
    if not runs:
        raise UserError(
            f"{WEIGHTS} holds no run of {family}/{learner or 'any meta-learner'}; leave out --kept to use your own"
        )
    place: Path = best(runs)["place"]
    return place


def _digest(directory: Path) -> str:
    return configuration_digest(read_json(directory / "config.json"))
