"""The two operations on all edges of a dense block that message passing is made of (§4.3), for one tile of it.

Rows and columns of a block are its two node groups, either way round. Shapes: edges [K, n, c, d]; row [K, n, m] and
column [K, c, m], the ends' parts of a first layer, whose part of the edges has the weight first [m, d].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.learners.layers import ACTIVATIONS

aten = torch.ops.aten


class Operation(Protocol):
    """What is computed of each row and all its columns, apart from the other rows."""

    @property
    def activation(self) -> str:
        """A key of `ACTIVATIONS`."""

    def tile(self, edges: Tensor, row: Tensor, column: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        """The outputs [K, n, …], differentiable by autograd."""

    def pull(
        self, edges: Tensor, row: Tensor, column: Tensor, weights: Sequence[Tensor], of_rows: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        """Gradients of edges, row, column and each weight. of_rows: see the operation."""


@dataclass(frozen=True)
class Gather:
    """Messages of all columns (senders) to each row (receiver), summed: values Σ_j w_j hidden_j [K, n, m].

    With a second weight, score [m], w_j = exp(score · hidden_j − peak), and there are two more outputs: Σ_j w_j
    [K, n, 1] and peak [K, n, 1], a constant. Without it w_j = 1.
    of_rows: gradients of values and of Σ_j w_j, then peak; without a score, of values alone.
    """

    activation: str

    def tile(self, edges: Tensor, row: Tensor, column: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        first, *score = weights
        hidden = _act(self.activation, _before(edges, row, column, first))
        if not score:
            return (hidden.sum(2),)
        logits = hidden @ score[0]  # [K, n, c]
        peak = logits.detach().amax(2, keepdim=True)
        w = (logits - peak).exp()
        return (w[:, :, None] @ hidden).squeeze(2), w.sum(2, keepdim=True), peak

    def pull(
        self, edges: Tensor, row: Tensor, column: Tensor, weights: Sequence[Tensor], of_rows: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        first, *score = weights
        before = _before(edges, row, column, first)
        d_values = of_rows[0]
        if not score:
            return _first_layer(self.activation, d_values[:, :, None].expand_as(before), before, edges, first)
        hidden = _act(self.activation, before)
        d_sum, peak = of_rows[1:]
        w = (hidden @ score[0] - peak).exp()
        d_logits = w * ((hidden @ d_values[..., None]).squeeze(-1) + d_sum)  # [K, n, c]
        # Both ways to hidden, w d_values + d_logits score, as one product.
        both = torch.stack([d_values, score[0].expand_as(d_values)], 2)  # [K, n, 2, m]
        d_hidden = torch.stack([w, d_logits], -1) @ both
        found = _first_layer(self.activation, d_hidden, before, edges, first)
        return *found, d_logits.flatten() @ hidden.flatten(0, 2)


@dataclass(frozen=True)
class Renew:
    """The new embedding of each edge [K, n, c, d]: h + second · hidden + bias, normalised if weights say so.

    Weights: first [m, d], second [d, m], bias [d]; of a LayerNorm: gain [d] and shift [d].
    of_rows: the gradient of the new embedding.
    """

    activation: str
    eps: float

    def tile(self, edges: Tensor, row: Tensor, column: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        first, second, bias, *norm = weights
        hidden = _act(self.activation, _before(edges, row, column, first))
        new = edges + F.linear(hidden, second, bias)
        return (F.layer_norm(new, bias.shape, norm[0], norm[1], self.eps) if norm else new,)

    def pull(
        self, edges: Tensor, row: Tensor, column: Tensor, weights: Sequence[Tensor], of_rows: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        first, second, bias, *norm = weights
        before = _before(edges, row, column, first)
        hidden, d_new = _act(self.activation, before), of_rows[0]
        d_norm: Sequence[Tensor] = ()
        if norm:
            new = edges + F.linear(hidden, second, bias)
            statistics = aten.native_layer_norm(new, bias.shape, *norm, self.eps)[1:]
            found = aten.native_layer_norm_backward(d_new.contiguous(), new, bias.shape, *statistics, *norm, [True] * 3)
            d_new, *d_norm = found
        d_edges, *d_ends, d_first = _first_layer(self.activation, d_new @ second, before, edges, first)
        d_second = d_new.flatten(0, 2).T @ hidden.flatten(0, 2)
        return d_edges.add_(d_new), *d_ends, d_first, d_second, d_new.sum((0, 1, 2)), *d_norm


def _before(edges: Tensor, row: Tensor, column: Tensor, first: Tensor) -> Tensor:
    """The first layer before its activation [K, n, c, m]."""
    return F.linear(edges, first) + row[:, :, None] + column[:, None]


def _act(activation: str, before: Tensor) -> Tensor:
    hidden: Tensor = ACTIVATIONS[activation]()(before)
    return hidden


def _first_layer(
    activation: str, d_hidden: Tensor, before: Tensor, edges: Tensor, first: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of edges, row, column and first from that of the hidden layer."""
    d_before = SLOPES[activation](d_hidden, before)
    return (
        d_before @ first,
        d_before.sum(2),
        d_before.sum(1),
        d_before.flatten(0, 2).T @ edges.flatten(0, 2),
    )


# torch's own backward of each of ACTIVATIONS, from the gradient of its output and its input.
SLOPES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "relu": lambda d, x: aten.threshold_backward(d, x, 0),
    "silu": aten.silu_backward,
    "gelu": aten.gelu_backward,
    "softplus": lambda d, x: aten.softplus_backward(d, x, 1, 20),
    "tanh": lambda d, x: aten.tanh_backward(d, x.tanh()),
}
