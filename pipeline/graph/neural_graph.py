"""The template as a graph: neurons are nodes and carry biases, weights are edges (App. B)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from pipeline.templates import Axis, Theta

RESIDUAL, ALIGN, PASS_THRU = "residual", "align_one2one", "pass_thru"


@dataclass(frozen=True)
class NodeGroup:
    """Neurons of one layer.

    axes: one axis, or heads and their dimensions where neurons belong to attention heads.
    fixed: each node has a meaning of its own (an input place, a token), so none may be permuted.
    bias: the tensor of θ that the nodes carry, if any.
    """

    name: str
    axes: tuple[Axis, ...]
    fixed: bool = False
    bias: str | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(axis.size for axis in self.axes)

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class EdgeBlock:
    """All weights of one tensor as a dense bipartite block, source nodes × target nodes.

    order: the tensor's axes in the order source axes, target axes.
    """

    tensor: str
    source: str
    target: str
    order: tuple[int, ...]


@dataclass(frozen=True)
class Link:
    """Edges without parameters between two groups.

    residual: one to one, fixed weight 1. align_one2one: one to one, without a weight: the two neurons
    are multiplied (a query and its key), so they move together. pass_thru: each head's neurons to the
    head's score node, or back: the heads of queries, keys and values move together (App. B.2).
    """

    kind: str
    source: str
    target: str


@dataclass(frozen=True)
class NeuralGraph:
    """Node groups, dense edge blocks, and links, in the order of computation (the block view)."""

    groups: tuple[NodeGroup, ...]
    blocks: tuple[EdgeBlock, ...]
    links: tuple[Link, ...]

    def group(self, name: str) -> NodeGroup:
        """The node group of this name."""
        return next(group for group in self.groups if group.name == name)

    @property
    def n_nodes(self) -> int:
        return sum(group.size for group in self.groups)

    @property
    def n_weight_edges(self) -> int:
        return sum(self.group(b.source).size * self.group(b.target).size for b in self.blocks)

    def to_block(self, block: EdgeBlock, weight: Tensor) -> Tensor:
        """A tensor of θ [K, …] as its edge block [K, source, target]."""
        sizes = self.group(block.source).size, self.group(block.target).size
        return weight.permute(0, *(axis + 1 for axis in block.order)).reshape(-1, *sizes)

    def from_block(self, block: EdgeBlock, values: Tensor) -> Tensor:
        """An edge block [K, source, target] as the tensor of θ [K, …]: the inverse of `to_block`."""
        shape = (*self.group(block.source).shape, *self.group(block.target).shape)
        inverse = [block.order.index(axis) + 1 for axis in range(len(block.order))]
        return values.reshape(-1, *shape).permute(0, *inverse)

    def to_blocks(self, theta: Theta) -> tuple[list[Tensor], dict[str, Tensor]]:
        """θ as edge blocks [K, source, target] in the order of `blocks`, and biases [K, size] by group."""
        weights = [self.to_block(block, theta[block.tensor]) for block in self.blocks]
        return weights, {g.name: theta[g.bias].flatten(1) for g in self.groups if g.bias}

    def from_blocks(self, weights: list[Tensor], biases: dict[str, Tensor]) -> Theta:
        """θ from edge blocks and biases: the inverse of `to_blocks`."""
        theta = {b.tensor: self.from_block(b, w) for b, w in zip(self.blocks, weights, strict=True)}
        for group in self.groups:
            if group.bias:
                theta[group.bias] = biases[group.name].reshape(-1, *group.shape)
        return theta
