"""The template as a graph: neurons are nodes and carry biases, weights are edges (App. B)."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.templates import Axis, Theta

RESIDUAL, ALIGN, PASS_THRU = "residual", "align_one2one", "pass_thru"


@dataclass(frozen=True)
class NodeGroup:
    """Neurons of one layer.

    axes: one axis, or heads and their dimensions where neurons belong to attention heads.
    fixed: each node has a meaning of its own (an input place, a token), so none may be permuted.
    bias: the tensor of θ that the nodes carry, if any; bias_rows: their part of it, where groups share one.
    """

    name: str
    axes: tuple[Axis, ...]
    fixed: bool = False
    bias: str | None = None
    bias_rows: slice | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(axis.size for axis in self.axes)

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class EdgeBlock:
    """The weights of one tensor as a dense bipartite block, source nodes × target nodes.

    order: the tensor's axes in the order source axes, target axes, axes within an edge.
    factors: each axis of the tensor as a product of axes, which `order` then counts one after the
        other; None: the axes are those of the two groups.
    channels: numbers on each edge (a convolution's kernel positions).
    rows: the part of the tensor's first axis, where blocks share a tensor (queries, keys and values).
    paired: edges join node i to node i only (the γ of a normalisation), so both groups move together.
    """

    tensor: str
    source: str
    target: str
    order: tuple[int, ...]
    factors: tuple[tuple[int, ...], ...] | None = None
    channels: int = 1
    rows: slice | None = None
    paired: bool = False


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
        return sum(math.prod(self.edge_shape(block)) for block in self.blocks)

    @classmethod
    def from_module(cls, module: nn.Module, *example: Tensor) -> NeuralGraph:
        """The neural graph of any network of supported layers; see `pipeline.graph.from_module`."""
        from pipeline.graph.from_module import from_module

        return from_module(module, *example)

    def edge_shape(self, block: EdgeBlock) -> tuple[int, int]:
        """The block's edges as source nodes × their targets; a paired source has one target."""
        return self.group(block.source).size, 1 if block.paired else self.group(block.target).size

    def to_block(self, block: EdgeBlock, weight: Tensor) -> Tensor:
        """A tensor of θ [K, …] as its edge block [K, source, target, channels]."""
        if block.rows is not None:
            weight = weight[:, block.rows]
        if block.factors is not None:
            weight = weight.reshape(-1, *itertools.chain(*block.factors))
        moved = weight.permute(0, *(axis + 1 for axis in block.order))
        return moved.reshape(-1, *self.edge_shape(block), block.channels)

    def from_block(self, block: EdgeBlock, values: Tensor) -> Tensor:
        """An edge block [K, source, target, channels] as its rows of the tensor of θ [K, …]: inverse of `to_block`."""
        inverse = [block.order.index(axis) + 1 for axis in range(len(block.order))]
        if block.factors is None:
            shape = (*self.group(block.source).shape, *self.group(block.target).shape)
            return values.reshape(-1, *shape).permute(0, *inverse)
        flat = list(itertools.chain(*block.factors))
        moved = values.reshape(-1, *(flat[axis] for axis in block.order)).permute(0, *inverse)
        return moved.reshape(-1, *map(math.prod, block.factors))

    def to_blocks(self, theta: Theta) -> tuple[list[Tensor], dict[str, Tensor]]:
        """θ as edge blocks [K, source, target, channels] in the order of `blocks`, and biases [K, size] by group."""
        weights = [self.to_block(block, theta[block.tensor]) for block in self.blocks]
        return weights, {g.name: theta[g.bias][:, g.bias_rows or slice(None)].flatten(1) for g in self.groups if g.bias}

    def from_blocks(self, weights: list[Tensor], biases: dict[str, Tensor]) -> Theta:
        """θ from edge blocks and biases: the inverse of `to_blocks`."""
        theta: Theta = {}
        parts: dict[str, list[tuple[int, Tensor]]] = defaultdict(list)
        for block, values in zip(self.blocks, weights, strict=True):
            tensor = self.from_block(block, values)
            if block.rows is None:
                theta[block.tensor] = tensor
            else:
                parts[block.tensor].append((block.rows.start, tensor))
        for group in self.groups:
            if group.bias and group.bias_rows is None:
                theta[group.bias] = biases[group.name].reshape(-1, *group.shape)
            elif group.bias and group.bias_rows is not None:
                parts[group.bias].append((group.bias_rows.start, biases[group.name]))
        for name, pieces in parts.items():
            theta[name] = torch.cat([piece for _, piece in sorted(pieces, key=lambda pair: pair[0])], 1)
        return theta
