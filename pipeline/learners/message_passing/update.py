"""Updates of node and edge embeddings (§4.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.learners.layers import ACTIVATIONS
from pipeline.learners.message_passing import fused
from pipeline.learners.message_passing.spans import Spans


class Update(nn.Module):
    """f(h, …; φ_upd) = h + MLP of the concatenation, optionally normalised."""

    def __init__(self, d: int, inputs: int, width: int, activation: str, use_norm: bool) -> None:
        super().__init__()
        self.first = nn.ModuleList(nn.Linear(d, width, bias=i == 0) for i in range(inputs))
        self.activation, self.act = activation, ACTIVATIONS[activation]()
        self.second = nn.Linear(width, d)
        self.norm = nn.LayerNorm(d) if use_norm else nn.Identity()

    def forward(self, h: Tensor, *others: Tensor) -> Tensor:
        """h and the others [K, …, d] give the new h."""
        parts = [layer(value) for layer, value in zip(self.first, (h, *others), strict=True)]
        return self.finish(h, torch.stack(parts).sum(0))

    def of_block(self, edges: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """The new embeddings of a dense block's edges [K, s, t, d], from their ends' parts of the first layer
        [K, s, m] and [K, t, m], its bias in one of them."""
        return fused.renew(edges, source, target, *self._arguments())

    def of_graph(self, spans: Spans, edges: Tensor, ends: Tensor) -> Tensor:
        """The new embeddings of all edges [K, E, d], from the nodes' parts of the first layer [K, N, 2, m], as sources
        and as targets, its bias in one of them."""
        return fused.renew_all(spans, edges, ends, *self._arguments())

    def _arguments(self) -> tuple[list[Tensor], str, float]:
        """What edge updates are told: weights, activation, and the ε of a LayerNorm."""
        own = self.first[0]
        assert isinstance(own, nn.Linear)
        weights = [own.weight, self.second.weight, self.second.bias]
        if isinstance(self.norm, nn.LayerNorm):
            return [*weights, self.norm.weight, self.norm.bias], self.activation, self.norm.eps
        return weights, self.activation, 0.0

    def finish(self, h: Tensor, total: Tensor) -> Tensor:
        """The new h from the sum of the first layer's parts [K, …, m]."""
        new: Tensor = self.norm(h + self.second(self.act(total)))
        return new
