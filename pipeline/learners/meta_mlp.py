"""meta_mlp: the structure-agnostic hypernetwork, θ = f_MLP(U) (§4.3)."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from pipeline.learners.base import Head, MetaLearner, rows_by_tensor
from pipeline.learners.layers import mlp_to_slots
from pipeline.params import MetaMlp as Settings
from pipeline.programs import Family
from pipeline.templates import Template


class MetaMlp(MetaLearner):
    """One MLP from the intent code [K, d_u] to all slots [K, T]."""

    def __init__(self, family: Family, template: Template, settings: Settings, d_u: int) -> None:
        super().__init__(family, template, settings)
        self.network = mlp_to_slots([d_u, *settings.hidden], template, settings)

    def slots_of(self, u: Tensor) -> Tensor:
        out: Tensor = self.network(u)
        return out

    def heads(self) -> Iterator[Head]:
        last = self.network[-1]
        assert isinstance(last, nn.Linear)
        return rows_by_tensor(last, self.template)


Learner = MetaMlp
