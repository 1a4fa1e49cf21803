"""The runs that a report stands on, read and checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from pipeline import names, params
from pipeline.errors import UserError
from pipeline.evaluation import statistics, tables
from pipeline.files import read_json
from pipeline.params import Params
from pipeline.programs import SPLITS
from pipeline.report.checks import advising, check_accuracy, differences
from pipeline.report.published import published
from pipeline.report.source import Source
from pipeline.training import recipe
from pipeline.training.recipe import Recipe


class Parameters(BaseModel):
    """Trainable parameters and frozen buffers, counted apart."""

    model_config = ConfigDict(frozen=True)

    trainable: int
    frozen: int


class Selected(BaseModel):
    """The evaluation step whose weights were kept, by val."""

    step: int
    val_accuracy: float
    val_loss: float


class Run(BaseModel):
    """One entry of `runs.json`."""

    seed: int
    configuration: str
    settings: dict[str, Any]
    training: dict[str, Any]
    parameters: Parameters
    selected: Selected
    diverged: bool
    provenance: dict[str, Any] = {}


@dataclass(frozen=True)
class Cell:
    """The runs of one recipe, `of`: `accuracy` is sorted and holds the seeds of `runs`.

    `changed` names the settings with which the runs were trained and which the settings file has otherwise.
    """

    of: Recipe
    accuracy: pd.DataFrame
    runs: Mapping[int, Run]
    changed: tuple[str, ...] = ()

    @cached_property
    def per_seed(self) -> pd.DataFrame:
        """Accuracies: a row per seed, a column per split."""
        return statistics.per_seed(self.accuracy)

    @cached_property
    def best(self) -> int:
        """The seed that val selects."""
        return statistics.best_seed(self.accuracy)

    @property
    def any_run(self) -> Run:
        """One of the runs, for what all seeds share: settings, training, parameters."""
        return next(iter(self.runs.values()))


@dataclass(frozen=True)
class Evidence:
    """All inputs of a report.

    `cells` holds the pairs of family and learner that have runs, `ablated` those of family and variant.
    """

    source: Source
    params: Params
    cells: Mapping[tuple[str, str], Cell]
    ablated: Mapping[tuple[str, str], Cell]
    sizes: Mapping[str, Mapping[str, Mapping[str, int]]]
    """Examples by family, split and intent or `total`; a family without the file is not in it."""

    def learners(self, family: str) -> tuple[str, ...]:
        """The learners of the family's table: the grid's, and the paper's where runs may be missing."""
        more = set() if self.source.complete else published().learners(family)
        return names.ordered_learners({*self.params.grid.learners, *more})

    def present(self, family: str) -> list[Cell]:
        """The family's cells that have runs, in the order of the tables."""
        return [self.cells[family, name] for name in self.learners(family) if (family, name) in self.cells]


def gather(source: Source) -> Evidence:
    """Read everything that the settings name; nothing else that lies there is looked at.

    Raises `UserError` for a file that is damaged or belongs to other splits or settings, and, if the source is to
    be complete, for the first thing that is missing.
    """
    settings = params.load(source.settings)
    sizes = {family: _sizes(source, family) for family in settings.grid.families}
    known: dict[str, dict[str, dict[str, int]]] = {
        family: counts for family, counts in sizes.items() if counts is not None
    }
    grid = _cells(source, recipe.grid(settings), known)
    ablations = (of for family in settings.ablations.families for of in recipe.ablations(settings, family))
    return Evidence(source, settings, grid, _cells(source, ablations, known), known)


def _cells(
    source: Source, recipes: Iterable[Recipe], sizes: dict[str, dict[str, dict[str, int]]]
) -> dict[tuple[str, str], Cell]:
    """Those of the recipes that have runs, by family and name."""
    cells = {(of.family, of.name): _cell(source, of, sizes.get(of.family)) for of in recipes}
    return {key: cell for key, cell in cells.items() if cell is not None}


def _sizes(source: Source, family: str) -> dict[str, dict[str, int]] | None:
    path = source.splits / f"{family}.json"
    remedy = source.remedy(f"generate@{family}")
    if not path.exists():
        if source.complete:
            raise UserError(f"{path} is missing; {remedy}")
        return None
    try:
        sizes = TypeAdapter(dict[str, dict[str, int]]).validate_python(read_json(path))
    except ValidationError as error:
        raise UserError(f"{path} does not hold counts of examples ({_why(error)}); {remedy}") from None
    lacking = [split for split in SPLITS if "total" not in sizes.get(split, {})]
    if lacking:
        raise UserError(f"{path} lacks the total of {lacking[0]}; {remedy}")
    return sizes


def _cell(source: Source, of: Recipe, sizes: dict[str, dict[str, int]] | None) -> Cell | None:
    directory = source.evaluation(of.study, of.name)
    remedy = source.remedy(of.evaluation)
    if not (directory / "accuracy.csv").exists() and not (directory / "runs.json").exists():
        if source.complete:
            raise UserError(f"{directory} is missing; {remedy}")
        return None
    runs = _runs(directory / "runs.json", of.learner, remedy)
    with advising(remedy):
        accuracy, _ = tables.read(directory)
    seeds = [seed for seed in sorted(of.seeds) if seed in runs]
    missing = sorted(set(of.seeds) - set(seeds))
    if missing and source.complete:
        raise UserError(f"{directory} lacks seed {missing[0]}; {remedy}")
    if not seeds:
        return None
    accuracy = check_accuracy(accuracy, seeds, sizes, f"{directory / 'accuracy.csv'}", remedy)
    kept = {seed: runs[seed] for seed in seeds}
    changed = _changed(of, kept[seeds[0]])
    if changed and source.complete:
        raise UserError(f"{directory} was made with another {changed[0]} than {source.settings_name}; {remedy}")
    return Cell(of, accuracy, kept, changed)


def _runs(path: Path, learner: str, remedy: str) -> dict[int, Run]:
    with advising(remedy):
        values = read_json(path)
    try:
        runs = TypeAdapter(list[Run]).validate_python(values)
    except ValidationError as error:
        raise UserError(f"{path} does not describe runs ({_why(error)}); {remedy}") from None
    runs = [_completed(learner, run) for run in runs]
    by_seed = {run.seed: run for run in runs}
    if len(by_seed) < len(runs):
        raise UserError(f"{path} names a seed more than once; {remedy}")
    # One row of a table must be one experiment.
    for run in runs:
        for part in ("settings", "training", "parameters"):
            if getattr(run, part) != getattr(runs[0], part):
                raise UserError(f"{path}: seeds {runs[0].seed} and {run.seed} differ in {part}; {remedy}")
    return by_seed


def _completed(learner: str, run: Run) -> Run:
    settings, training = params.completed(learner, run.settings, run.training)
    return run.model_copy(update={"settings": settings, "training": training})


def _changed(of: Recipe, run: Run) -> tuple[str, ...]:
    now = of.values()
    pairs = zip(of.sections, ((run.settings, now["settings"]), (run.training, now["training"])), strict=True)
    return tuple(f"{section}.{key}" for section, pair in pairs for key in differences(*pair))


def _why(error: ValidationError) -> str:
    finding = error.errors()[0]
    return f"{'.'.join(map(str, finding['loc']))}: {finding['msg']}"
