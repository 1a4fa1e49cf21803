"""Message passing on a neural graph in blocks: node groups and dense bipartite edge blocks, no scatter (§4.3).

Every array of nodes is [K, n, d]; every array of edges is [K, source, target, d].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.graph import EdgeBlock, Link, NeuralGraph
from pipeline.graph.neural_graph import ALIGN, PASS_THRU, RESIDUAL
from pipeline.learners.layers import ACTIVATIONS
from pipeline.params import MetaGnn

Nodes = dict[str, Tensor]


@dataclass
class Partial:
    """Messages to one node group from one side of one block, before they are merged with the others.

    values: Σ_j w_j hidden_j [K, n, m]; weight: Σ_j w_j [K, n, 1]; peak: log of the factor taken out of w.
    """

    values: Tensor
    weight: Tensor
    peak: Tensor | None

    def flatten(self) -> Partial:
        """Heads and their dimensions [K, h, e, …] as nodes [K, h·e, …]."""
        peak = None if self.peak is None else self.peak.flatten(1, 2)
        return Partial(self.values.flatten(1, 2), self.weight.flatten(1, 2), peak)


Inbox = dict[str, list[Partial]]


class Message(nn.Module):
    """f(h_i, h_j, e_ij; φ_msg) with one hidden layer, and its aggregation over the neighbours j of i.

    The first layer acts on receiver, sender and edge apart and adds; the second is linear, so it
    comes after the sum over neighbours: the same map, without a message written for each edge.
    """

    def __init__(self, d: int, width: int, aggregation: str, activation: str) -> None:
        super().__init__()
        self.aggregation = aggregation
        self.receiver = nn.Linear(d, width)
        self.sender = nn.Linear(d, width, bias=False)
        self.edge = nn.Linear(d, width, bias=False)
        self.act = ACTIVATIONS[activation]()
        self.score = nn.Linear(width, 1, bias=False)
        self.out = nn.Linear(width, d)

    def gather(self, receiver: Tensor, sender: Tensor, along: Tensor, dim: int) -> Partial:
        """Messages summed over the senders' axis `dim`.

        receiver, sender: embeddings [K, …, d], shaped to broadcast against each other.
        along: the edge's part of the first layer, `self.edge(e)` [K, …, m] or [m].
        """
        hidden = self.act(self.receiver(receiver) + self.sender(sender) + along)  # [K, …, m]
        if self.aggregation == "attn":
            score = self.score(hidden)
            peak = score.detach().amax(dim, keepdim=True)
            weight = (score - peak).exp()
            return Partial((weight * hidden).sum(dim), weight.sum(dim), peak.squeeze(dim))
        summed = hidden.sum(dim)
        count = torch.full_like(summed[..., :1], hidden.shape[dim])
        return Partial(summed, count, None)

    def merge(self, partials: list[Partial]) -> Tensor:
        """The aggregated message [K, n, d] of one group from all its blocks."""
        if self.aggregation == "attn":
            peak = torch.stack([p.peak for p in partials if p.peak is not None]).amax(0)
            factors = [(p.peak - peak).exp() for p in partials if p.peak is not None]
            values = sum(p.values * factor for p, factor in zip(partials, factors, strict=True))
            weight = sum(p.weight * factor for p, factor in zip(partials, factors, strict=True))
        else:
            values, weight = sum(p.values for p in partials), sum(p.weight for p in partials)
        assert isinstance(values, Tensor) and isinstance(weight, Tensor)
        if self.aggregation == "sum":
            return values @ self.out.weight.T + weight * self.out.bias
        out: Tensor = self.out(values / weight)
        return out


class Update(nn.Module):
    """f(h, …; φ_upd) = h + MLP of the concatenation, optionally normalised first."""

    def __init__(self, d: int, inputs: int, width: int, activation: str, use_norm: bool) -> None:
        super().__init__()
        self.first = nn.ModuleList(nn.Linear(d, width, bias=i == 0) for i in range(inputs))
        self.act = ACTIVATIONS[activation]()
        self.second = nn.Linear(width, d)
        self.norm = nn.LayerNorm(d) if use_norm else nn.Identity()

    def forward(self, h: Tensor, *others: Tensor) -> Tensor:
        """h and the others [K, …, d], shaped to broadcast, give the new h."""
        total = self.first[0](h)
        for layer, other in zip(list(self.first)[1:], others, strict=True):
            total = total + layer(other)
        new: Tensor = self.norm(h + self.second(self.act(total)))
        return new


class MessagePassing(nn.Module):
    """k rounds of messages, node update and edge update, with the same parameters in each round.

    Edges carry messages forward, and backward if `bidirectional`, with parameters of their own if
    `rev_edge_mode` is separate. Residual edges do so if `residual`, align_one2one and pass_thru
    edges if `pairing` (the paper masks these out, App. B.2).
    """

    def __init__(self, graph: NeuralGraph, settings: MetaGnn) -> None:
        super().__init__()
        d, width, activation = settings.d_h, settings.width, settings.activation
        self.graph, self.rounds, self.bidirectional = graph, settings.rounds, settings.bidirectional
        carries = {RESIDUAL: settings.residual, PASS_THRU: settings.pairing, ALIGN: settings.pairing}
        self.links = [link for link in graph.links if carries[link.kind]]
        self.forth = Message(d, width, settings.aggregation, activation)
        self.back = self.forth
        if settings.bidirectional and settings.rev_edge_mode == "separate":
            self.back = Message(d, width, settings.aggregation, activation)
            # Messages of both directions meet in one sum, which has one second layer.
            self.back.out = self.forth.out
        self.update_node = Update(d, 2, width, activation, settings.use_norm)
        self.update_edge = Update(d, 3, width, activation, settings.use_norm)
        kinds = sorted({link.kind for link in self.links})
        self.kinds = nn.ParameterDict({kind: torch.randn(d) * d**-0.5 for kind in kinds})

    def forward(self, nodes: Nodes, edges: list[Tensor]) -> tuple[Nodes, list[Tensor]]:
        """Embeddings after k rounds, from nodes {group: [K, n, d]} and edges [K, s, t, d] in the order of blocks."""
        for _ in range(self.rounds):
            nodes = self._update_nodes(nodes, edges)
            edges = [
                self.update_edge(edge, nodes[block.source][:, :, None], nodes[block.target][:, None])
                for block, edge in zip(self.graph.blocks, edges, strict=True)
            ]
        return nodes, edges

    def _update_nodes(self, nodes: Nodes, edges: list[Tensor]) -> Nodes:
        inbox: Inbox = {name: [] for name in nodes}
        for block, edge in zip(self.graph.blocks, edges, strict=True):
            self._exchange(inbox, block, nodes, edge)
        for link in self.links:
            if link.kind == PASS_THRU:
                self._exchange_heads(inbox, link, nodes)
            else:
                self._exchange_pairs(inbox, link, nodes)
        return {
            name: self.update_node(h, self.forth.merge(inbox[name])) if inbox[name] else h for name, h in nodes.items()
        }

    def _exchange(self, inbox: Inbox, block: EdgeBlock, nodes: Nodes, edge: Tensor) -> None:
        """Messages along a dense block [K, s, t, d]: to its targets, summed over sources, and back."""
        source, target = nodes[block.source][:, :, None], nodes[block.target][:, None]
        along = self.forth.edge(edge)
        inbox[block.target].append(self.forth.gather(target, source, along, 1))
        if self.bidirectional:
            along = along if self.back is self.forth else self.back.edge(edge)
            inbox[block.source].append(self.back.gather(source, target, along, 2))

    def _exchange_pairs(self, inbox: Inbox, link: Link, nodes: Nodes) -> None:
        """Messages between one-to-one partners: axis 2 is the one neighbour of each node."""
        source, target = nodes[link.source][:, :, None], nodes[link.target][:, :, None]
        edge = self.kinds[link.kind]
        inbox[link.target].append(self.forth.gather(target, source, self.forth.edge(edge), 2))
        if self.bidirectional:
            inbox[link.source].append(self.back.gather(source, target, self.back.edge(edge), 2))

    def _exchange_heads(self, inbox: Inbox, link: Link, nodes: Nodes) -> None:
        """Messages between the neurons of each head and the head's score node, as pass_thru edges join them."""
        inward = len(self.graph.group(link.source).shape) > 1
        neuron_name, score_name = (link.source, link.target) if inward else (link.target, link.source)
        score = nodes[score_name][:, :, None]  # [K, h, 1, d]
        neurons = nodes[neuron_name].unflatten(1, (score.shape[1], -1))  # [K, h, e, d]
        edge = self.kinds[link.kind]
        if inward or self.bidirectional:
            message = self.forth if inward else self.back
            inbox[score_name].append(message.gather(score, neurons, message.edge(edge), 2))
        if not inward or self.bidirectional:
            message = self.back if inward else self.forth
            partial = message.gather(neurons[..., None, :], score[..., None, :], message.edge(edge), 3)
            inbox[neuron_name].append(partial.flatten())
