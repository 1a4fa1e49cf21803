"""Message passing on a neural graph in blocks: node groups and dense bipartite edge blocks, no scatter (§4.3).

All nodes are one array [K, N, d] and all edges one array [K, E, d], group after group and block after
block, so that every linear layer is one product; blocks are views [K, source, target, ·] into them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.graph import EdgeBlock, Link, NeuralGraph
from pipeline.graph.neural_graph import ALIGN, PASS_THRU, RESIDUAL
from pipeline.learners.layers import ACTIVATIONS
from pipeline.params import MetaGnn


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

    def gather(self, receiver: Tensor, sender: Tensor, edge: Tensor, dim: int) -> Partial:
        """Messages summed over the senders' axis `dim`; the arguments are the three parts of the
        first layer [K, …, m], shaped to broadcast."""
        return self.aggregate(self.act(receiver + sender + edge), dim)

    def aggregate(self, hidden: Tensor, dim: int) -> Partial:
        """Hidden layers [K, …, m] of the messages summed over the senders' axis `dim`."""
        if self.aggregation == "attn":
            score = self.score(hidden)
            peak = score.detach().amax(dim, keepdim=True)
            weight = (score - peak).exp()
            return Partial((weight * hidden).sum(dim), weight.sum(dim), peak.squeeze(dim))
        summed = hidden.sum(dim)
        return Partial(summed, torch.full_like(summed[..., :1], hidden.shape[dim]), None)

    def merge(self, inbox: list[list[Partial]]) -> Tensor:
        """The aggregated messages [K, N, d] of all groups, each from all its partial sums."""
        total, weight = self._merge([self._layer(inbox, i) for i in range(max(map(len, inbox)))])
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


class Update(nn.Module):
    """f(h, …; φ_upd) = h + MLP of the concatenation, optionally normalised."""

    def __init__(self, d: int, inputs: int, width: int, activation: str, use_norm: bool) -> None:
        super().__init__()
        self.first = nn.ModuleList(nn.Linear(d, width, bias=i == 0) for i in range(inputs))
        self.act = ACTIVATIONS[activation]()
        self.second = nn.Linear(width, d)
        self.norm = nn.LayerNorm(d) if use_norm else nn.Identity()

    def forward(self, h: Tensor, *others: Tensor) -> Tensor:
        """h and the others [K, …, d] give the new h."""
        parts = [layer(value) for layer, value in zip(self.first, (h, *others), strict=True)]
        return self.finish(h, torch.stack(parts).sum(0))

    def finish(self, h: Tensor, total: Tensor) -> Tensor:
        """The new h from the sum of the first layer's parts [K, …, m]."""
        new: Tensor = self.norm(h + self.second(self.act(total)))
        return new


@dataclass(frozen=True)
class Pairs:
    """The edges of a link or of a paired block, in one direction: no neuron has more neighbours than its fan.

    edge: kind of the link, or number of the block. A fan is 1, or on the side of score nodes the size of their head.
    """

    receiver: str
    sender: str
    edge: str | int
    receiver_fan: int = 1
    sender_fan: int = 1

    def reversed(self) -> Pairs:
        """The same edges in the other direction."""
        return Pairs(self.sender, self.receiver, self.edge, self.sender_fan, self.receiver_fan)


def sparse_edges(graph: NeuralGraph, links: list[Link]) -> Iterator[Pairs]:
    """Forward, all edges that are no dense block: paired blocks, then links."""
    for i, block in enumerate(graph.blocks):
        if block.paired:
            yield Pairs(block.target, block.source, i)
    for link in links:
        source, target = graph.group(link.source).size, graph.group(link.target).size
        yield Pairs(link.target, link.source, link.kind, max(1, source // target), max(1, target // source))


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
        self.pairs = list(sparse_edges(graph, self.links))
        self.node_sizes = [group.size for group in graph.groups]
        self.edge_shapes = [graph.edge_shape(block) for block in graph.blocks]
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

    def forward(self, nodes: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings of nodes [K, N, d] and edges [K, E, d] after k rounds."""
        update = self.update_edge
        for _ in range(self.rounds):
            forth, back, own = project(edges, [self.forth.edge, self.back.edge, update.first[0]])
            nodes = self._update_nodes(nodes, self.blocks(forth), self.blocks(back))
            from_source, from_target = (
                self.groups(part) for part in project(nodes, [update.first[1], update.first[2]])
            )
            ends = [
                (from_source[b.source][:, :, None] + from_target[b.target][:, :, None]).flatten(1, 2)
                if b.paired
                else (from_source[b.source][:, :, None] + from_target[b.target][:, None]).flatten(1, 2)
                for b in self.graph.blocks
            ]
            edges = update.finish(edges, own + torch.cat(ends, 1))
        return nodes, edges

    def groups(self, nodes: Tensor) -> dict[str, Tensor]:
        """Nodes [K, N, ·] as views [K, n, ·] by group."""
        names = [group.name for group in self.graph.groups]
        return dict(zip(names, torch.split(nodes, self.node_sizes, 1), strict=True))

    def blocks(self, edges: Tensor) -> list[Tensor]:
        """Edges [K, E, ·] as views [K, s, t, ·], block by block."""
        pieces = torch.split(edges, [s * t for s, t in self.edge_shapes], 1)
        return [piece.unflatten(1, shape) for piece, shape in zip(pieces, self.edge_shapes, strict=True)]

    def _update_nodes(self, nodes: Tensor, forth: list[Tensor], back: list[Tensor]) -> Tensor:
        layers = [self.forth.receiver, self.forth.sender, self.back.receiver, self.back.sender]
        heard, said, heard_back, said_back = (self.groups(part) for part in project(nodes, layers))
        inbox: Inbox = {group.name: [] for group in self.graph.groups}
        for block, along, along_back in zip(self.graph.blocks, forth, back, strict=True):
            if not block.paired:
                self._exchange(inbox, block, (heard, said, along), (heard_back, said_back, along_back))
        for pairs in by_fan(self.pairs):
            self._exchange_pairs(inbox, pairs, self.forth, (heard, said, forth))
        if self.bidirectional:
            for pairs in by_fan([p.reversed() for p in self.pairs]):
                self._exchange_pairs(inbox, pairs, self.back, (heard_back, said_back, back))
        return self._deliver(nodes, inbox)

    def _deliver(self, nodes: Tensor, inbox: Inbox) -> Tensor:
        """Update the nodes that got messages; the others stay as they are."""
        if all(inbox.values()):
            return self.update_node(nodes, self.forth.merge(list(inbox.values())))
        parts = self.groups(nodes)
        reached = [name for name, partials in inbox.items() if partials]
        messages = self.forth.merge([inbox[name] for name in reached])
        new = self.update_node(torch.cat([parts[name] for name in reached], 1), messages)
        parts |= dict(zip(reached, torch.split(new, [parts[name].shape[1] for name in reached], 1), strict=True))
        return torch.cat(list(parts.values()), 1)

    def _exchange(self, inbox: Inbox, block: EdgeBlock, forth: Parts, back: Parts) -> None:
        """Messages along a dense block [K, s, t, m]: to its targets, summed over sources, and back."""
        heard, said, along = forth
        receiver, sender = heard[block.target][:, None], said[block.source][:, :, None]
        inbox[block.target].append(self.forth.gather(receiver, sender, along, 1))
        if self.bidirectional:
            heard, said, along = back
            receiver, sender = heard[block.source][:, :, None], said[block.target][:, None]
            inbox[block.source].append(self.back.gather(receiver, sender, along, 2))

    def _exchange_pairs(self, inbox: Inbox, pairs: list[Pairs], message: Message, parts: AllParts) -> None:
        """Messages along sparse edges in one direction, all receivers with the same fan, as one array [K, P, m]."""
        heard, said, along = parts
        fan = pairs[0].receiver_fan
        receivers = torch.cat([fanned(heard[p.receiver], fan) for p in pairs], 1)
        senders = torch.cat([fanned(said[p.sender], p.sender_fan) for p in pairs], 1)
        sizes = [self.graph.group(p.receiver).size for p in pairs]
        kinds = {kind: message.edge(value) for kind, value in self.kinds.items()}
        edges = [
            along[p.edge].flatten(1, 2) if isinstance(p.edge, int) else kinds[p.edge].expand(len(senders), n * fan, -1)
            for p, n in zip(pairs, sizes, strict=True)
        ]
        hidden = message.act(receivers + senders + torch.cat(edges, 1))  # [K, P, m]
        partial = message.aggregate(hidden.unflatten(1, (-1, fan)), 2)
        for p, mine in zip(pairs, partial.split(sizes), strict=True):
            inbox[p.receiver].append(mine)


Parts = tuple[dict[str, Tensor], dict[str, Tensor], Tensor]
"""A message's first layer applied to all nodes as receivers, as senders, and to the edges of one block."""

AllParts = tuple[dict[str, Tensor], dict[str, Tensor], list[Tensor]]
"""The same with the edges of all blocks."""


def fanned(nodes: Tensor, fan: int) -> Tensor:
    """Nodes [K, n, m] each `fan` times [K, n·fan, m]."""
    return nodes if fan == 1 else nodes[:, :, None].expand(-1, -1, fan, -1).flatten(1, 2)


def by_fan(pairs: list[Pairs]) -> list[list[Pairs]]:
    """Sparse edges that can be aggregated at once: those whose receivers hear equally many senders."""
    fans = dict.fromkeys(p.receiver_fan for p in pairs)
    return [[p for p in pairs if p.receiver_fan == fan] for fan in fans]


def project(h: Tensor, layers: Sequence[nn.Module]) -> tuple[Tensor, ...]:
    """Several linear layers of one input [K, n, d] as one product; a layer named twice is computed once."""
    distinct = [layer for i, layer in enumerate(layers) if layer not in layers[:i] and isinstance(layer, nn.Linear)]
    weight = torch.cat([layer.weight for layer in distinct])
    bias = torch.cat(
        [layer.weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias for layer in distinct]
    )
    parts = F.linear(h, weight, bias).split([len(layer.weight) for layer in distinct], -1)
    return tuple(parts[distinct.index(layer)] for layer in layers if isinstance(layer, nn.Linear))
