"""All edges of a neural graph, node by node, as the kernels that take a whole graph at once walk along them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.graph import Link, NeuralGraph


@dataclass(frozen=True)
class Spans:
    """The edges at every node in spans: edges at even distances, whose other ends are consecutive nodes.

    Edges are numbered block after block, then link after link; a block or a link has one span at each node.

    starts: the number of each node's first span [2, N + 1], of the edges into it, then of those out of it; its last
        span is before that of the next node.
    spans: for each span [·, 4] its first edge, the distance of its edges, the other end of the first, and their count.
    """

    starts: Tensor
    spans: Tensor

    def to(self, device: torch.device) -> Spans:
        """The same on a device."""
        return Spans(self.starts.to(device), self.spans.to(device))

    def counts(self) -> Tensor:
        """How many edges come into each node, and how many go out of it [2, N]."""
        before = torch.cat([self.spans.new_zeros(1), self.spans[:, 3].cumsum(0)])  # [spans + 1]
        return before[self.starts.long()].diff()


def spans_of(graph: NeuralGraph, links: Sequence[Link]) -> Spans:
    """The spans of all edge blocks of a graph and of some of its links."""
    sizes = {group.name: group.size for group in graph.groups}
    first = dict(zip(sizes, itertools.accumulate(sizes.values(), initial=0), strict=False))
    tables: tuple[list[Tensor], list[Tensor]] = ([], [])  # [nodes, 5]: a node, then its span
    edge = 0
    joins = [(b.source, b.target, b.paired) for b in graph.blocks] + [(k.source, k.target, True) for k in links]
    for source, target, matched in joins:
        s, t = Nodes(first[source], sizes[source]), Nodes(first[target], sizes[target])
        into, out_of = _matched(edge, s, t) if matched else _dense(edge, s, t)
        tables[0].append(into)
        tables[1].append(out_of)
        edge += max(s.size, t.size) if matched else s.size * t.size
    starts: list[Tensor] = []
    spans: list[Tensor] = []
    for table in tables:
        rows = torch.cat(table)
        rows = rows[rows[:, 0].argsort(stable=True)]
        counts = torch.bincount(rows[:, 0], minlength=graph.n_nodes)
        starts.append(torch.cat([counts.new_zeros(1), counts.cumsum(0)]) + sum(map(len, spans)))
        spans.append(rows[:, 1:])
    return Spans(torch.stack(starts).int(), torch.cat(spans).int())


class Nodes(NamedTuple):
    """The nodes of a group: the first one's number, and how many."""

    first: int
    size: int


def _dense(edge: int, source: Nodes, target: Nodes) -> tuple[Tensor, Tensor]:
    """From edge number `edge` on, i·t + j of source i and target j: spans into targets, and out of sources."""
    i, j = torch.arange(source.size), torch.arange(target.size)
    into = _rows(target.first + j, edge + j, target.size, source.first, source.size)
    return into, _rows(source.first + i, edge + i * target.size, 1, target.first, target.size)


def _matched(edge: int, source: Nodes, target: Nodes) -> tuple[Tensor, Tensor]:
    """As many edges as the larger group has nodes, shared evenly by the nodes of the smaller one."""
    n = max(source.size, target.size)

    def at(mine: Nodes, theirs: Nodes) -> Tensor:
        node, fan = torch.arange(mine.size), n // mine.size
        return _rows(mine.first + node, edge + node * fan, 1, theirs.first + node * fan // (n // theirs.size), fan)

    return at(target, source), at(source, target)


def _rows(nodes: Tensor, *span: Tensor | int) -> Tensor:
    """Nodes and their spans [nodes, 5]."""
    return torch.stack([torch.as_tensor(value).expand(len(nodes)) for value in (nodes, *span)], 1)
