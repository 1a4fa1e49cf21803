"""Automorphisms of a neural graph: which neurons may change places, and what that does to θ (§4.2)."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.graph.neural_graph import PASS_THRU, EdgeBlock, NeuralGraph, NodeGroup
from pipeline.templates import Theta

Permutations = dict[str, np.ndarray]
"""For each node group, the new place of each node: node i moves to place permutations[group][i]."""


@dataclass(frozen=True)
class Incidence:
    """Where a node group meets θ: `side` is source, target, bias or (of a one-to-one block) pairs of `tensor`.

    `start`: the first row of its part, where several blocks or biases share the tensor.
    """

    group: str
    tensor: str
    side: str
    start: int = 0

    @classmethod
    def of(cls, block: EdgeBlock, side: str) -> Incidence:
        """The incidence of one side of an edge block."""
        group = block.source if side == "source" else block.target
        return cls(group, block.tensor, side, block.rows.start if block.rows else 0)

    @classmethod
    def of_bias(cls, group: NodeGroup) -> Incidence:
        """The incidence of a group that carries a bias."""
        return cls(group.name, str(group.bias), "bias", group.bias_rows.start if group.bias_rows else 0)


def random_automorphism(graph: NeuralGraph, rng: np.random.Generator) -> Permutations:
    """A random automorphism: groups joined one to one move together, heads move as wholes."""
    heads = _head_permutations(graph, rng)
    permutations: Permutations = {}
    for names in tied_groups(graph):
        members = [graph.group(name) for name in names]
        size = members[0].size
        in_heads = next((member for member in members if len(member.shape) > 1), None)
        if any(member.fixed for member in members):
            permutation = np.arange(size)
        elif in_heads is not None:
            n_heads, d_head = in_heads.shape
            within = np.stack([rng.permutation(d_head) for _ in range(n_heads)])  # [h, e]
            permutation = (heads[in_heads.name][:, None] * d_head + within).ravel()
        elif members[0].name in heads:
            permutation = heads[members[0].name]
        else:
            permutation = rng.permutation(size)
        permutations.update(dict.fromkeys(names, permutation))
    return permutations


def tied_groups(graph: NeuralGraph) -> list[list[str]]:
    """Node groups that must move together, as lists of names: joined one to one, by links or by weights."""
    pairs = [(link.source, link.target) for link in graph.links if link.kind != PASS_THRU]
    return _components(graph, pairs + [(block.source, block.target) for block in graph.blocks if block.paired])


def _head_permutations(graph: NeuralGraph, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One permutation of the heads for all groups of an attention module."""
    joined = [(link.source, link.target) for link in graph.links if link.kind == PASS_THRU]
    permutations = {}
    for names in _components(graph, joined):
        if len(names) > 1:
            permutations.update(dict.fromkeys(names, rng.permutation(graph.group(names[0]).shape[0])))
    return permutations


def _components(graph: NeuralGraph, pairs: list[tuple[str, str]]) -> list[list[str]]:
    """Connected components of the groups under `pairs`, in the order of the groups."""
    component = {group.name: i for i, group in enumerate(graph.groups)}
    for a, b in pairs:
        old, new = component[b], component[a]
        component = {name: new if c == old else c for name, c in component.items()}
    members = defaultdict(list)
    for name, c in component.items():
        members[c].append(name)
    return list(members.values())


def incidences(graph: NeuralGraph) -> list[Incidence]:
    """Every place where a node group meets a tensor of θ."""
    ends = [Incidence.of(b, "source") for b in graph.blocks if not b.paired]
    ends += [Incidence.of(b, "pairs" if b.paired else "target") for b in graph.blocks]
    return ends + [Incidence.of_bias(g) for g in graph.groups if g.bias]


def act(graph: NeuralGraph, permutations: Permutations, theta: Theta, leave: Incidence | None = None) -> Theta:
    """θ after the permutations: the weight of edge i → j moves to edge π(i) → π(j).

    `leave` keeps one incidence in place: an uncoupled permutation, which is no symmetry.
    """

    def moved(values: Tensor, incidence: Incidence, dim: int) -> Tensor:
        if incidence == leave:
            return values
        inverse = torch.from_numpy(np.argsort(permutations[incidence.group])).to(values.device)
        return values.index_select(dim, inverse)

    weights, biases = graph.to_blocks(theta)
    for i, block in enumerate(graph.blocks):
        if block.paired:
            weights[i] = moved(weights[i], Incidence.of(block, "pairs"), 1)
            continue
        rows = moved(weights[i], Incidence.of(block, "source"), 1)
        weights[i] = moved(rows, Incidence.of(block, "target"), 2)
    for group in graph.groups:
        if group.bias:
            biases[group.name] = moved(biases[group.name], Incidence.of_bias(group), 1)
    return graph.from_blocks(weights, biases)
