"""What to run and in which order, from DVC's own graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import UserError
from pipeline.explain import repository

# Stages that train; the others use a processor core for seconds.
TRAINING = ("train", "ablate")


@dataclass(frozen=True)
class Planned:
    """A stage to run, once all of `after` are done."""

    name: str
    after: tuple[str, ...]

    @property
    def group(self) -> str:
        """The part of its name that `dvc.yaml` has."""
        return self.name.partition("@")[0]

    @property
    def trains(self) -> bool:
        """Whether it takes a device."""
        return self.group in TRAINING


def plan(targets: Sequence[str] = ()) -> list[Planned]:
    """The stale stages and those behind them, producers first.

    Args:
        targets: stages, or groups such as `evaluate`; only they and what they need are planned. None means all.

    Raises `UserError` if there is no such stage.
    """
    import networkx as nx

    with repository() as found:
        graph = found.index.graph  # its edges point from a stage to what it needs
        stages = {stage.addressing: stage for stage in found.index.stages}
        wanted = _wanted(graph, stages, targets)
        changed = found.status(targets=list(targets) or None, with_deps=bool(targets))
        stale = {stages[name] for name in changed if name in stages}
        behind = {other for stage in stale for other in nx.ancestors(graph, stage)}
        chosen = (stale | behind) & wanted
        order = [stage for stage in nx.topological_sort(graph.reverse(copy=False)) if stage in chosen]
        needs = {stage: {each.addressing for each in graph.successors(stage) if each in chosen} for stage in order}
        return [Planned(stage.addressing, tuple(sorted(needs[stage]))) for stage in order]


def _wanted(graph: object, stages: dict[str, object], targets: Sequence[str]) -> set[object]:
    """The stages that the targets name, and all that they need."""
    import networkx as nx

    if not targets:
        return set(stages.values())
    named: set[object] = set()
    for target in targets:
        these = {stage for name, stage in stages.items() if target in (name, name.partition("@")[0])}
        if not these:
            raise UserError(f"there is no stage '{target}'; `neurop status --all` lists them")
        named |= these
    return named.union(*(nx.descendants(graph, stage) for stage in named))
