"""Message passing on a neural graph in blocks: node groups and dense bipartite edge blocks, no scatter (§4.3).

All nodes are one array [K, N, d], group after group, so that every linear layer of them is one product. Edges are
blocks [K, source, target, d], whose hidden layers are by far the largest: `fused` does not keep those of large blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.graph import EdgeBlock, Link, NeuralGraph
from pipeline.graph.neural_graph import ALIGN, PASS_THRU, RESIDUAL
from pipeline.learners import fused
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
        self.aggregation, self.activation = aggregation, activation
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
        own = self.first[0]
        assert isinstance(own, nn.Linear)
        weights = [own.weight, self.second.weight, self.second.bias]
        eps = 0.0
        if isinstance(self.norm, nn.LayerNorm):
            weights, eps = [*weights, self.norm.weight, self.norm.bias], self.norm.eps
        return fused.renew(edges, source, target, weights, self.activation, eps)

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
        blocks = self.blocks(edges)
        for _ in range(self.rounds):
            nodes = self._update_nodes(nodes, blocks)
            blocks = self._update_edges(nodes, blocks)
        return nodes, torch.cat([block.flatten(1, 2) for block in blocks], 1)

    def groups(self, nodes: Tensor) -> dict[str, Tensor]:
        """Nodes [K, N, ·] as views [K, n, ·] by group."""
        names = [group.name for group in self.graph.groups]
        return dict(zip(names, torch.split(nodes, self.node_sizes, 1), strict=True))

    def blocks(self, edges: Tensor) -> list[Tensor]:
        """Edges [K, E, ·] as views [K, s, t, ·], block by block."""
        pieces = torch.split(edges, [s * t for s, t in self.edge_shapes], 1)
        return [piece.unflatten(1, shape) for piece, shape in zip(pieces, self.edge_shapes, strict=True)]

    def _update_edges(self, nodes: Tensor, blocks: list[Tensor]) -> list[Tensor]:
        update = self.update_edge
        own, of_source, of_target = update.first
        assert isinstance(own, nn.Linear)
        from_source, from_target = project(nodes, [of_source, of_target])
        sources, targets = self.groups(from_source + own.bias), self.groups(from_target)
        return [
            update.finish(h, h @ own.weight.T + (sources[b.source] + targets[b.target])[:, :, None])
            if b.paired
            else update.of_block(h, sources[b.source], targets[b.target])
            for b, h in zip(self.graph.blocks, blocks, strict=True)
        ]

    def _update_nodes(self, nodes: Tensor, blocks: list[Tensor]) -> Tensor:
        layers = [self.forth.receiver, self.forth.sender, self.back.receiver, self.back.sender]
        heard, said, heard_back, said_back = (self.groups(part) for part in project(nodes, layers))
        inbox: Inbox = {group.name: [] for group in self.graph.groups}
        for block, h in zip(self.graph.blocks, blocks, strict=True):
            if not block.paired:
                self._exchange(inbox, block, (heard, said), (heard_back, said_back), h)
        for pairs in by_fan(self.pairs):
            self._exchange_pairs(inbox, pairs, self.forth, (heard, said), blocks)
        if self.bidirectional:
            for pairs in by_fan([p.reversed() for p in self.pairs]):
                self._exchange_pairs(inbox, pairs, self.back, (heard_back, said_back), blocks)
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

    def _exchange(self, inbox: Inbox, block: EdgeBlock, forth: Parts, back: Parts, edges: Tensor) -> None:
        """Messages along a dense block [K, s, t, d]: to its targets, summed over sources, and back."""
        heard, said = forth
        receiver, sender = heard[block.target], said[block.source]
        inbox[block.target].append(self.forth.gather_block(receiver, sender, edges.transpose(1, 2)))
        if self.bidirectional:
            heard, said = back
            inbox[block.source].append(self.back.gather_block(heard[block.source], said[block.target], edges))

    def _exchange_pairs(
        self, inbox: Inbox, pairs: list[Pairs], message: Message, parts: Parts, blocks: list[Tensor]
    ) -> None:
        """Messages along sparse edges in one direction, all receivers with the same fan, as one array [K, P, m]."""
        heard, said = parts
        fan = pairs[0].receiver_fan
        receivers = torch.cat([fanned(heard[p.receiver], fan) for p in pairs], 1)
        senders = torch.cat([fanned(said[p.sender], p.sender_fan) for p in pairs], 1)
        sizes = [self.graph.group(p.receiver).size for p in pairs]
        kinds = {kind: message.edge(value) for kind, value in self.kinds.items()}
        edges = [
            message.edge(blocks[p.edge]).flatten(1, 2)
            if isinstance(p.edge, int)
            else kinds[p.edge].expand(len(senders), n * fan, -1)
            for p, n in zip(pairs, sizes, strict=True)
        ]
        hidden = message.act(receivers + senders + torch.cat(edges, 1))  # [K, P, m]
        partial = message.aggregate(hidden.unflatten(1, (-1, fan)), 2)
        for p, mine in zip(pairs, partial.split(sizes), strict=True):
            inbox[p.receiver].append(mine)


Parts = tuple[dict[str, Tensor], dict[str, Tensor]]
"""The parts of a message's first layer of all nodes, by group: as receivers, as senders."""


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
