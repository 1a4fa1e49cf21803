"""direct_mlp: the baseline (intent, x) → y without θ, by an MLP (§5.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.learners import base
from pipeline.learners.layers import mlp
from pipeline.params import DirectMlp as Settings
from pipeline.programs import Family
from pipeline.templates import Template
from pipeline.templates.base import one_hot


class DirectMlp(base.Learner):
    """An MLP on the intent code and the input: numbers as they are, tokens as one-hot vectors."""

    def __init__(self, family: Family, template: Template, settings: Settings, d_u: int) -> None:
        super().__init__(family, template)
        v = family.vocabulary or 1
        sizes = [d_u + family.input_length * v, *settings.hidden, family.output_length * v]
        self.network = mlp(sizes, settings.activation)

    def bind(self, u: Tensor) -> base.Program:
        return lambda x, y: self._answer(u, x)

    def _answer(self, u: Tensor, x: Tensor) -> Tensor:
        k, n, _ = x.shape
        v = self.family.vocabulary
        inputs = x.float() if v is None else one_hot(x, v).flatten(2)
        out: Tensor = self.network(torch.cat([u[:, None].expand(k, n, -1), inputs], -1))
        return out if v is None else out.view(k, n, self.family.output_length, v)


Learner = DirectMlp
