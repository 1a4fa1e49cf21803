"""The paper's protocol: its settings, and the runs made under it that are kept in Git."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline import params as settings
from pipeline.errors import UserError
from pipeline.files import read_json
from pipeline.params import Params
from pipeline.training.recipe import Recipe, recipe

PROFILE = Path("profiles/paper.yaml")
RESULTS = Path("results/paper")


def kept(params: Params, of: Recipe, root: Path = Path()) -> set[int]:
    """Seeds of a recipe of `params` that are kept in Git; none if its settings are not exactly the paper's."""
    path = root / RESULTS / "evaluations" / str(of) / "runs.json"
    if not path.exists() or not _of_paper(params, of, root):
        return set()
    return {run["seed"] for run in read_json(path) if _same(of, run)}


def _of_paper(params: Params, of: Recipe, root: Path) -> bool:
    profile = settings.load(root / PROFILE)
    try:
        theirs = recipe(profile, of.study, of.name)
    except UserError:  # a variant that the paper does not have
        return False
    templates = (getattr(each.templates, of.family) for each in (params, profile))
    return theirs.values() == of.values() and next(templates) == next(templates)


def _same(of: Recipe, run: dict[str, Any]) -> bool:
    """Whether a kept run had these settings."""
    now = of.values()
    return settings.completed(of.learner, run["settings"], run["training"]) == (now["settings"], now["training"])
