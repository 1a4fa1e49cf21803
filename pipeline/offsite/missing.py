"""Which runs of `params.yaml` are not there yet, most wanted first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import UserError
from pipeline.files import read_json
from pipeline.offsite.inputs import prepare
from pipeline.paper import kept
from pipeline.params import Params
from pipeline.training import machine
from pipeline.training.checkpoint import FILE as CHECKPOINT
from pipeline.training.recipe import Recipe, RunId, pack_runs, recipes
from pipeline.training.run import FILES, Places, asked, configuration, key, shared


@dataclass(frozen=True)
class Item:
    """What one process trains and one DVC stage keeps: a seed, or a pack of seeds.

    `run`: the run, or the first of the pack. `config`: its configuration. `bits`: of the machine that trains it.
    """

    run: RunId
    config: dict[str, Any]
    bits: list[str | int]

    def finished(self, places: Places) -> bool:
        """Whether its output is there, complete, and made with the present configuration."""
        return all(
            _wrote(places, run) == {**self.config, "seed": run.seed}
            and all((places.run(run) / name).is_file() for name in FILES)
            for run in self.run.together
        )

    def scratch(self, places: Places) -> Path:
        """Where its checkpoint is."""
        return places.scratch(key(shared(self.config, self.run), self.bits))

    def half_way(self, places: Places) -> bool:
        """Whether it has a checkpoint from which such a machine goes on."""
        return (self.scratch(places) / CHECKPOINT).is_file()


def _wrote(places: Places, run: RunId) -> dict[str, Any] | None:
    """The configuration that a run was made with; None if nothing readable is there."""
    try:
        config = read_json(places.run(run) / "config.json")
        return asked(config) if isinstance(config, dict) else None
    except (UserError, OSError):
        return None


def chosen(params: Params, only: Sequence[str] = ()) -> list[Recipe]:
    """The recipes of `params.yaml` called `only` (`addmod-meta_mlp`, `ablations-addmod-avg`); all of them if empty.

    Raises `UserError` if there is none of a name.
    """
    by_name = {f"{of.study}-{of.name}": of for of in recipes(params)}
    unknown = [name for name in only if name not in by_name]
    if unknown:
        raise UserError(f"params.yaml has no recipe '{unknown[0]}'; it has {', '.join(by_name)}")
    return [of for name, of in by_name.items() if not only or name in only]


def items(params: Params, of: Recipe, places: Places, device: torch.device) -> Iterator[Item]:
    """All items of a recipe. Its inputs must be there (`prepare`)."""
    config = configuration(params, of.runs[0], places)
    for pack in of.packs:
        run = pack_runs(of.study, of.name, pack)[0]
        yield Item(run, {**config, "seed": run.seed}, machine.bits(device))


def missing(params: Params, places: Places, device: torch.device, only: Sequence[str] = ()) -> list[Item]:
    """What is neither here nor, where the settings are the paper's, kept in Git. The most wanted comes first:

    what belongs to the recipe with the fewest seeds, counting those that stand before it in this list; of equal ones
    what has a checkpoint; then in the order of `params.yaml`. Makes splits and templates that are not there.
    """
    asked_for = chosen(params, only)
    prepare(params, dict.fromkeys(of.family for of in asked_for), places)
    ranked: list[tuple[tuple[int, bool, int], Item]] = []
    for place, of in enumerate(asked_for):
        in_git = kept(params, of, places.root)
        todo, seeds = [], set(in_git)
        for item in items(params, of, places, device):
            own = {run.seed for run in item.run.together}
            if item.finished(places):
                seeds |= own
            elif not own <= in_git:
                todo.append(item)
        ahead = len(seeds)
        for item in sorted(todo, key=lambda item: not item.half_way(places)):
            ranked.append(((ahead, not item.half_way(places), place), item))
            ahead += len(item.run.together)
    return [item for _, item in sorted(ranked, key=lambda pair: pair[0])]
