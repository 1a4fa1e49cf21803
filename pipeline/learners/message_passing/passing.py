"""Message passing on a neural graph in blocks: node groups and dense bipartite edge blocks, no scatter (§4.3).

All nodes are one array [K, N, d], group after group, so that every linear layer of them is one product. Edges are
blocks [K, source, target, d], whose hidden layers are by far the largest: `fused` does not keep those of large blocks.
Where it has kernels for the whole graph, `whole` does the same without blocks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.graph import EdgeBlock, NeuralGraph
from pipeline.graph.neural_graph import ALIGN, PASS_THRU, RESIDUAL
from pipeline.learners.message_passing import fused
from pipeline.learners.message_passing.message import Message, Partial
from pipeline.learners.message_passing.pairs import Pairs, by_fan, fanned, sparse_edges
from pipeline.learners.message_passing.update import Update
from pipeline.learners.message_passing.whole import RoundWeights, WholeGraph
from pipeline.params import MetaGnn

Inbox = dict[str, list[Partial]]


class Round(nn.Module):
    """The parameters of one round: of messages along and against edges, and of both updates."""

    def __init__(self, settings: MetaGnn) -> None:
        super().__init__()
        d, width, activation = settings.d_h, settings.width, settings.activation
        self.forth = Message(d, width, settings.aggregation, activation)
        self.back = self.forth
        if settings.bidirectional and settings.rev_edge_mode == "separate":
            self.back = Message(d, width, settings.aggregation, activation)
            # Messages of both directions meet in one sum, which has one second layer.
            self.back.out = self.forth.out
        self.update_node = Update(d, 2, width, activation, settings.use_norm)
        self.update_edge = Update(d, 3, width, activation, settings.use_norm)


class MessagePassing(nn.Module):
    """k rounds of messages, node update and edge update, with the same parameters in each round if `shared_rounds`.

    Edges carry messages forward, and backward if `bidirectional`, with parameters of their own if
    `rev_edge_mode` is separate. Residual edges do so if `residual`, align_one2one and pass_thru
    edges if `pairing` (the paper masks these out, App. B.2).
    """

    def __init__(self, graph: NeuralGraph, settings: MetaGnn) -> None:
        super().__init__()
        self.graph, self.k, self.bidirectional = graph, settings.rounds, settings.bidirectional
        carries = {RESIDUAL: settings.residual, PASS_THRU: settings.pairing, ALIGN: settings.pairing}
        self.links = [link for link in graph.links if carries[link.kind]]
        self.pairs = list(sparse_edges(graph, self.links))
        self.whole, self.width = WholeGraph(graph, self.links, settings.bidirectional), settings.width
        self.node_sizes = [group.size for group in graph.groups]
        self.edge_shapes = [graph.edge_shape(block) for block in graph.blocks]
        self.rounds = nn.ModuleList(Round(settings) for _ in range(1 if settings.shared_rounds else self.k))
        kinds = sorted({link.kind for link in self.links})
        d = settings.d_h
        self.kinds = nn.ParameterDict({kind: torch.randn(d) * d**-0.5 for kind in kinds})

    def forward(self, nodes: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings of nodes [K, N, d] and edges [K, E, d] after k rounds."""
        if fused.graph_kernels(edges, self.width) is not None:
            return self._at_once(nodes, edges)
        blocks = self.blocks(edges)
        for each in self.in_turn:
            nodes = self._update_nodes(each, nodes, blocks)
            blocks = self._update_edges(each.update_edge, nodes, blocks)
        return nodes, torch.cat([block.flatten(1, 2) for block in blocks], 1)

    def _at_once(self, nodes: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        """As `forward`, without blocks."""
        links = self.whole.link_edges(self.kinds, len(edges))
        weights = {
            each: RoundWeights([each.forth, each.back] if self.bidirectional else [each.forth], each.update_edge)
            for each in self.rounds
            if isinstance(each, Round)
        }
        for each in self.in_turn:
            joined = torch.cat([edges, *links], 1) if links else edges
            heard = self.whole.heard(weights[each], nodes, joined)
            nodes = self.whole.kept(each.update_node(nodes, heard), nodes)
            edges = self.whole.renewed(weights[each], nodes, edges)
        return nodes, edges

    @property
    def in_turn(self) -> list[Round]:
        """The k rounds; those that share parameters are one object."""
        return [each for _ in range(self.k // len(self.rounds)) for each in self.rounds if isinstance(each, Round)]

    def groups(self, nodes: Tensor) -> dict[str, Tensor]:
        """Nodes [K, N, ·] as views [K, n, ·] by group."""
        names = [group.name for group in self.graph.groups]
        return dict(zip(names, torch.split(nodes, self.node_sizes, 1), strict=True))

    def blocks(self, edges: Tensor) -> list[Tensor]:
        """Edges [K, E, ·] as views [K, s, t, ·], block by block."""
        pieces = torch.split(edges, [s * t for s, t in self.edge_shapes], 1)
        return [piece.unflatten(1, shape) for piece, shape in zip(pieces, self.edge_shapes, strict=True)]

    def _update_edges(self, update: Update, nodes: Tensor, blocks: list[Tensor]) -> list[Tensor]:
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

    def _update_nodes(self, each: Round, nodes: Tensor, blocks: list[Tensor]) -> Tensor:
        layers = [each.forth.receiver, each.forth.sender, each.back.receiver, each.back.sender]
        heard, said, heard_back, said_back = (self.groups(part) for part in project(nodes, layers))
        inbox: Inbox = {group.name: [] for group in self.graph.groups}
        for block, h in zip(self.graph.blocks, blocks, strict=True):
            if not block.paired:
                self._exchange(each, inbox, block, (heard, said), (heard_back, said_back), h)
        for pairs in by_fan(self.pairs):
            self._exchange_pairs(inbox, pairs, each.forth, (heard, said), blocks)
        if self.bidirectional:
            for pairs in by_fan([p.reversed() for p in self.pairs]):
                self._exchange_pairs(inbox, pairs, each.back, (heard_back, said_back), blocks)
        return self._deliver(each, nodes, inbox)

    def _deliver(self, each: Round, nodes: Tensor, inbox: Inbox) -> Tensor:
        """Update the nodes that got messages; the others stay as they are."""
        if all(inbox.values()):
            return each.update_node(nodes, each.forth.merge(list(inbox.values())))
        parts = self.groups(nodes)
        reached = [name for name, partials in inbox.items() if partials]
        messages = each.forth.merge([inbox[name] for name in reached])
        new = each.update_node(torch.cat([parts[name] for name in reached], 1), messages)
        parts |= dict(zip(reached, torch.split(new, [parts[name].shape[1] for name in reached], 1), strict=True))
        return torch.cat(list(parts.values()), 1)

    def _exchange(self, each: Round, inbox: Inbox, block: EdgeBlock, forth: Parts, back: Parts, edges: Tensor) -> None:
        """Messages along a dense block [K, s, t, d]: to its targets, summed over sources, and back."""
        heard, said = forth
        receiver, sender = heard[block.target], said[block.source]
        inbox[block.target].append(each.forth.gather_block(receiver, sender, edges.transpose(1, 2)))
        if self.bidirectional:
            heard, said = back
            inbox[block.source].append(each.back.gather_block(heard[block.source], said[block.target], edges))

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


def project(h: Tensor, layers: Sequence[nn.Module]) -> tuple[Tensor, ...]:
    """Several linear layers of one input [K, n, d] as one product; a layer named twice is computed once."""
    distinct = [layer for i, layer in enumerate(layers) if layer not in layers[:i] and isinstance(layer, nn.Linear)]
    weight = torch.cat([layer.weight for layer in distinct])
    bias = torch.cat(
        [layer.weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias for layer in distinct]
    )
    parts = F.linear(h, weight, bias).split([len(layer.weight) for layer in distinct], -1)
    return tuple(parts[distinct.index(layer)] for layer in layers if isinstance(layer, nn.Linear))
