"""Messages and their aggregation over the neighbours of each node (§4.3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.learners.layers import ACTIVATIONS
from pipeline.learners.message_passing import fused


@dataclass
class Partial:
    """Messages to one node group from one side of one block, before they are merged with the others.

    values: Σ_j w_j hidden_j [K, n, m]; weight: Σ_j w_j [K, n, 1]; peak: log of the factor taken out of w.
    """

    values: Tensor
    weight: Tensor
    peak: Tensor | None

    def split(self, sizes: list[int]) -> list[Partial]:
        """The parts for consecutive nodes."""
        peaks = [None] * len(sizes) if self.peak is None else self.peak.split(sizes, 1)
        return [
            Partial(*parts)
            for parts in zip(self.values.split(sizes, 1), self.weight.split(sizes, 1), peaks, strict=True)
        ]

    def empty(self) -> Partial:
        """No message to the same nodes."""
        peak = None if self.peak is None else torch.full_like(self.peak, -torch.inf)
        return Partial(torch.zeros_like(self.values), torch.zeros_like(self.weight), peak)


class Message(nn.Module):
    """f(h_i, h_j, e_ij; φ_msg) with one hidden layer, and its aggregation over the neighbours j of i.

    The first layer acts on receiver, sender and edge apart and adds; the second is linear, so it
    comes after the sum over neighbours: the same map, without a message written for each edge.
    """

    def __init__(self, d: int, width: int, aggregation: str, activation: str) -> None:
        super().__init__()
        self.aggregation, self.activation = aggregation, activation
        self.receiver = nn.Linear(d, width)
        self.sender = nn.Linear(d, width, bias=False)
        self.edge = nn.Linear(d, width, bias=False)
        self.act = ACTIVATIONS[activation]()
        self.score = nn.Linear(width, 1, bias=False)
        self.out = nn.Linear(width, d)

    def aggregate(self, hidden: Tensor, dim: int) -> Partial:
        """Hidden layers [K, …, m] of the messages summed over the senders' axis `dim`."""
        if self.aggregation == "attn":
            score = self.score(hidden)
            peak = score.detach().amax(dim, keepdim=True)
            weight = (score - peak).exp()
            return Partial((weight * hidden).sum(dim), weight.sum(dim), peak.squeeze(dim))
        summed = hidden.sum(dim)
        return Partial(summed, torch.full_like(summed[..., :1], hidden.shape[dim]), None)

    def gather_block(self, receiver: Tensor, sender: Tensor, edges: Tensor) -> Partial:
        """Messages of all senders to each receiver of a dense block, from the parts of the first layer
        [K, n, m] and [K, c, m] and the embeddings [K, n, c, d] of the edges."""
        score = self.score.weight[0] if self.aggregation == "attn" else None
        values, *rest = fused.gather(edges, receiver, sender, self.edge.weight, score, self.activation)
        if score is None:
            return Partial(values, torch.full_like(values[..., :1], edges.shape[2]), None)
        return Partial(values, *rest)

    def merge(self, inbox: list[list[Partial]]) -> Tensor:
        """The aggregated messages [K, N, d] of all groups, each from all its partial sums."""
        return self.second(*self._merge([self._layer(inbox, i) for i in range(max(map(len, inbox)))]))

    def second(self, total: Tensor, weight: Tensor) -> Tensor:
        """The second layer [K, N, d] of Σ_j w_j hidden_j [K, N, m] and Σ_j w_j [K, N, 1]."""
        if self.aggregation == "sum":
            return total @ self.out.weight.T + weight * self.out.bias
        out: Tensor = self.out(total / weight)
        return out

    def _layer(self, inbox: list[list[Partial]], i: int) -> Partial:
        """The i-th partial sums of all groups [K, N, ·], empty where a group has fewer."""
        partials = [group[i] if i < len(group) else group[0].empty() for group in inbox]
        peaks = [p.peak for p in partials if p.peak is not None]
        return Partial(
            torch.cat([p.values for p in partials], 1),
            torch.cat([p.weight for p in partials], 1),
            torch.cat(peaks, 1) if peaks else None,
        )

    def _merge(self, layers: list[Partial]) -> tuple[Tensor, Tensor]:
        """Values [K, N, m] and weight [K, N, 1] over a common peak."""
        if len(layers) == 1:
            return layers[0].values, layers[0].weight
        values, weights = torch.stack([p.values for p in layers]), torch.stack([p.weight for p in layers])
        if self.aggregation == "attn":
            peaks = torch.stack([p.peak for p in layers if p.peak is not None])
            factors = (peaks - peaks.amax(0)).exp()
            values, weights = values * factors, weights * factors
        return values.sum(0), weights.sum(0)
