"""Rounds of message passing on the whole graph at once (§4.3), where `fused` has kernels for it.

On a GPU a step of a small graph in blocks is thousands of kernels of a few microseconds each, and takes as long as
these take to start.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.graph import Link, NeuralGraph
from pipeline.learners.message_passing import fused
from pipeline.learners.message_passing.message import Message
from pipeline.learners.message_passing.spans import Spans, spans_of
from pipeline.learners.message_passing.update import Update


class Joined:
    """Several linear layers of one input as one; a bias that is given is the first one's."""

    def __init__(self, layers: Sequence[nn.Module], bias: Tensor | None = None) -> None:
        linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
        none = linear[0].weight.new_zeros(linear[0].out_features)
        biases: list[Tensor] = [none if layer.bias is None else layer.bias for layer in linear]
        self.weight = torch.cat([layer.weight for layer in linear])
        self.bias = torch.cat(biases if bias is None else [bias, *biases[1:]])
        self.count = len(linear)

    def __call__(self, h: Tensor) -> Tensor:
        """h [K, n, d] gives [K, n, layers, m]."""
        return F.linear(h, self.weight, self.bias).unflatten(-1, (self.count, -1))


class RoundWeights:
    """The layers of a round as the whole graph takes them: made once for all rounds that share them.

    Args:
        messages: along edges, and against them if there are two.
        update: of edges.
    """

    def __init__(self, messages: Sequence[Message], update: Update) -> None:
        self.message, self.update = messages[0], update
        self.of_nodes = Joined([layer for message in messages for layer in (message.receiver, message.sender)])
        self.first = torch.stack([message.edge.weight for message in messages])
        attends = self.message.aggregation == "attn"
        self.score = torch.cat([message.score.weight for message in messages]) if attends else None
        own, *of_ends = update.first
        assert isinstance(own, nn.Linear)
        self.of_ends = Joined(of_ends, own.bias)


class WholeGraph:
    """A graph without its blocks: its edges with weights in their order [K, E, d], then those of its links [K, L, d].

    Args:
        links: those that carry messages.
        bidirectional: whether edges carry messages backward, too.
    """

    def __init__(self, graph: NeuralGraph, links: Sequence[Link], bidirectional: bool) -> None:
        self.graph, self.links, self.bidirectional = graph, links, bidirectional
        self._on: dict[torch.device, tuple[Spans, Tensor]] = {}

    def link_edges(self, kinds: nn.ParameterDict, k: int) -> list[Tensor]:
        """Links [K, ·, d], one after the other, from the embedding [d] of each kind."""
        size = {group.name: group.size for group in self.graph.groups}
        return [kinds[link.kind].expand(k, max(size[link.source], size[link.target]), -1) for link in self.links]

    def heard(self, weights: RoundWeights, nodes: Tensor, edges: Tensor) -> Tensor:
        """Messages [K, N, d] to the nodes [K, N, d] along edges and links [K, E + L, d]; of no meaning where there are
        none."""
        spans, counts = self._on_device(edges.device)
        ends, message = weights.of_nodes(nodes), weights.message
        values, *rest = fused.gather_all(spans, edges, ends, weights.first, weights.score, message.activation)
        weight = rest[0] if rest else counts.expand_as(values[..., :1])
        # A division by zero, at nodes that are left as they are, would spoil all gradients.
        return message.second(values, weight if self.all_reached else weight.masked_fill(counts == 0, 1.0))

    def renewed(self, weights: RoundWeights, nodes: Tensor, edges: Tensor) -> Tensor:
        """The new embeddings of the edges [K, E, d] from those of the nodes [K, N, d]."""
        spans, _ = self._on_device(edges.device)
        return weights.update.of_graph(spans, edges, weights.of_ends(nodes))

    def kept(self, new: Tensor, old: Tensor) -> Tensor:
        """The new nodes [K, N, d], and the old ones where there are no messages."""
        return new if self.all_reached else torch.where(self._on_device(new.device)[1] > 0, new, old)

    @cached_property
    def spans(self) -> Spans:
        """All edges, node by node."""
        return spans_of(self.graph, self.links)

    @cached_property
    def counts(self) -> Tensor:
        """How many messages each node gets [N, 1]."""
        into, out_of = self.spans.counts()
        return (into + out_of if self.bidirectional else into).float()[:, None]

    @cached_property
    def all_reached(self) -> bool:
        """Whether every node gets a message."""
        return bool(self.counts.all())

    def _on_device(self, device: torch.device) -> tuple[Spans, Tensor]:
        if device not in self._on:
            self._on[device] = self.spans.to(device), self.counts.to(device)
        return self._on[device]
