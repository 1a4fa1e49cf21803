"""What to train: a learner with its settings and protocol on one family, in the grid or in the ablations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.errors import UserError
from pipeline.packs import Pack
from pipeline.params import FAMILIES, LEARNERS, LearnerSection, Params, Section, TrainingSection

# The study of a family's ablations is called by both, joined as DVC joins them in a stage's name.
ABLATIONS = "ablations-"
ABLATED = "meta_gnn"


__all__ = ["Pack", "Recipe", "RunId", "ablations", "grid", "pack_runs", "recipe", "recipes", "stage"]


@dataclass(frozen=True)
class RunId:
    """Names one run: study and name as in its `Recipe`, the seed, and the pack in which it trains, if not alone."""

    study: str
    name: str
    seed: int
    pack: Pack | None = None

    def __str__(self) -> str:
        return f"{self.study}/{self.name}/{self.seed}"

    @property
    def item(self) -> str:
        """What `params.yaml` and DVC call it: its seed, or its pack."""
        return str(self.seed if self.pack is None else self.pack)

    @property
    def together(self) -> tuple[RunId, ...]:
        """The runs that one process trains with it, itself among them."""
        return (self,) if self.pack is None else pack_runs(self.study, self.name, self.pack)

    @property
    def title(self) -> str:
        """Names all runs that train together: `addmod/meta_mlp/0-9`."""
        return f"{self.study}/{self.name}/{self.item}"

    @property
    def stage(self) -> str:
        """The DVC stage that trains it."""
        return stage(self.study, self.name, self.item)

    @property
    def command(self) -> str:
        """The command that trains it."""
        return f"python -m stages.train {self.study} {self.name} {self.item}"


def pack_runs(study: str, name: str, pack: Pack) -> tuple[RunId, ...]:
    """The runs of a pack's seeds."""
    if len(pack.seeds) == 1:
        return (RunId(study, name, pack.seeds[0]),)
    return tuple(RunId(study, name, seed, pack) for seed in pack.seeds)


@dataclass(frozen=True)
class Recipe:
    """What the seeds of one row of a table share.

    `study`, `name`: where its outputs are: family and learner in the grid, `ablations-<family>` and
    variant in the ablations. `limit`: the most trainable parameters it may have, or None.
    """

    study: str
    name: str
    family: str
    learner: str
    settings: LearnerSection
    training: TrainingSection
    program: Section
    packs: tuple[Pack, ...]
    limit: int | None = None

    def __str__(self) -> str:
        return f"{self.study}/{self.name}"

    @property
    def runs(self) -> tuple[RunId, ...]:
        """The runs of all seeds that the settings name."""
        return tuple(run for pack in self.packs for run in pack_runs(self.study, self.name, pack))

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds that the settings name."""
        return tuple(run.seed for run in self.runs)

    def run(self, seed: int) -> RunId:
        """The run of a seed: in its pack, if the settings name one that holds it, else alone."""
        alone = RunId(self.study, self.name, seed)
        return next((run for run in self.runs if run.seed == seed), alone)

    @property
    def ablated(self) -> bool:
        """Whether it is of the ablations."""
        return self.study.startswith(ABLATIONS)

    @property
    def evaluation(self) -> str:
        """The DVC stage that evaluates it."""
        return f"evaluate_ablations@{self.family}" if self.ablated else f"evaluate@{self.family}-{self.name}"

    @property
    def sections(self) -> tuple[str, str]:
        """Where `params.yaml` holds its settings and its protocol."""
        if self.ablated:
            return f"ablations.variants.{self.name}", "ablations.training"
        return f"learners.{self.family}.{self.name}", f"training.{self.family}"

    def values(self) -> dict[str, Any]:
        """What `params.yaml` alone says of a run's configuration, as JSON."""
        parts = {"settings": self.settings, "training": self.training, "program": self.program}
        return {name: part.model_dump(mode="json") for name, part in parts.items()}


def stage(study: str, name: str, item: int | str) -> str:
    """The DVC stage that trains a seed or a pack."""
    kind = "ablate" if study.startswith(ABLATIONS) else "train"
    return f"{kind}@{study.removeprefix(ABLATIONS)}-{name}-{item}"


def recipe(params: Params, study: str, name: str) -> Recipe:
    """The recipe of a family's learner, or of a variant of a family's ablations.

    Raises `UserError` if there is none of that name: paths are made of both.
    """
    family = study.removeprefix(ABLATIONS)
    if family not in FAMILIES:
        raise UserError(f"there is no family '{family}'; there are {', '.join(FAMILIES)}")
    if family != study:
        return _variant(params, family, name)
    if name not in LEARNERS:
        raise UserError(f"there is no learner '{name}'; there are {', '.join(LEARNERS)}")
    training, program = getattr(params.training, family), getattr(params.programs, family)
    return Recipe(study, name, family, name, params.learner(family, name), training, program, params.grid.packs)


def _variant(params: Params, family: str, name: str) -> Recipe:
    ablations = params.ablations
    if name not in ablations.variants:
        raise UserError(f"there is no variant '{name}'; there are {', '.join(ablations.variants)}")
    return Recipe(
        study=f"{ABLATIONS}{family}",
        name=name,
        family=family,
        learner=ABLATED,
        settings=ablations.variant(name),
        training=ablations.training,
        program=getattr(params.programs, family),
        packs=ablations.packs,
        limit=ablations.limit,
    )


def grid(params: Params) -> Iterator[Recipe]:
    """Every learner on every family of the grid."""
    for family in params.grid.families:
        for learner in params.grid.learners:
            yield recipe(params, family, learner)


def ablations(params: Params, family: str) -> Iterator[Recipe]:
    """The rows of a family's ablations."""
    for row in params.ablations.rows:
        yield recipe(params, f"{ABLATIONS}{family}", row)


def recipes(params: Params) -> Iterator[Recipe]:
    """All that `params.yaml` asks to be trained: the grid, then the ablations."""
    yield from grid(params)
    for family in params.ablations.families:
        yield from ablations(params, family)
