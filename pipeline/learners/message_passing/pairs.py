"""Edges that are no dense block: links and paired blocks, where each node has few neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from pipeline.graph import Link, NeuralGraph


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


def fanned(nodes: Tensor, fan: int) -> Tensor:
    """Nodes [K, n, m] each `fan` times [K, n·fan, m]."""
    return nodes if fan == 1 else nodes[:, :, None].expand(-1, -1, fan, -1).flatten(1, 2)


def by_fan(pairs: list[Pairs]) -> list[list[Pairs]]:
    """Sparse edges that can be aggregated at once: those whose receivers hear equally many senders."""
    fans = dict.fromkeys(p.receiver_fan for p in pairs)
    return [[p for p in pairs if p.receiver_fan == fan] for fan in fans]
