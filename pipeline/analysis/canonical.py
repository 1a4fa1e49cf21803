"""Two weight sets side by side: the neurons of one reordered to be as close as possible to the other's.

Coordinate descent over the neural graph's automorphisms, each step a linear assignment (weight matching,
Ainsworth et al. 2023). Every step is a symmetry of the network, so what it computes stays the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from pipeline.graph.neural_graph import PASS_THRU, NeuralGraph
from pipeline.graph.symmetries import Permutations, act, tied_groups
from pipeline.templates import Theta

# Each sweep ends nearer, and the orders are finitely many: a bound on time only.
SWEEPS = 50


def distance(first: Theta, second: Theta) -> float:
    """‖θ₁ − θ₂‖ over all intents and slots, divided by the mean of the two norms: √2 if they are orthogonal."""
    apart = math.hypot(*(float((first[name] - second[name]).norm()) for name in first))
    norms = [math.hypot(*(float(value.norm()) for value in theta.values())) for theta in (first, second)]
    return 2 * apart / sum(norms) if sum(norms) else 0.0


def matched(graph: NeuralGraph, reference: Theta, theta: Theta) -> Theta:
    """θ [K, …] with its neurons in the order nearest to the reference's, one order for all K weight sets.

    A local optimum: no single step (one set of neurons, or all heads with their dimensions) brings it nearer.
    """
    steps = _steps(graph)
    best = distance(reference, theta)
    for _ in range(SWEEPS):
        before = best
        for step in steps:
            moved = act(graph, _assignment(graph, step, reference, theta), theta)
            # Neurons on both sides of one tensor make a step's estimate inexact, so it is checked.
            if (apart := distance(reference, moved)) < best:
                theta, best = moved, apart
        if best == before:
            break
    return theta


@dataclass(frozen=True)
class Step:
    """What moves at once: sets of node groups; of attention, all sets that share the heads."""

    sets: tuple[tuple[str, ...], ...]
    heads: int = 1


def _steps(graph: NeuralGraph) -> list[Step]:
    free = [tuple(names) for names in tied_groups(graph) if not any(graph.group(name).fixed for name in names)]
    joined = nx.Graph([(link.source, link.target) for link in graph.links if link.kind == PASS_THRU])
    steps = [Step((names,)) for names in free if not joined.nodes & set(names)]
    for part in nx.connected_components(joined):
        sets = tuple(names for names in free if part & set(names))
        steps.append(Step(sets, graph.group(min(part)).shape[0]))
    return steps


def _assignment(graph: NeuralGraph, step: Step, reference: Theta, theta: Theta) -> Permutations:
    """The places, for all node groups, that gain most in one step: of every pair of heads the best order within,
    then the best order of the heads. Groups outside the step stay."""
    permutations = {group.name: np.arange(group.size) for group in graph.groups}
    within = [_within_heads(_gain(graph, names, reference, theta), step.heads) for names in step.sets]
    heads = _best(np.sum([total for total, _ in within], 0))
    for names, (_, orders) in zip(step.sets, within, strict=True):
        size = orders.shape[-1]
        places = heads[:, None] * size + orders[np.arange(step.heads), heads]  # [h, e]
        permutations.update(dict.fromkeys(names, places.ravel()))
    return permutations


def _within_heads(gain: np.ndarray, n_heads: int) -> tuple[np.ndarray, np.ndarray]:
    """For each pair of heads the largest gain [h, h] and the order that reaches it [h, h, e], from [h·e, h·e]."""
    size = len(gain) // n_heads
    blocks = gain.reshape(n_heads, size, n_heads, size).swapaxes(1, 2)  # [h, h, e, e]
    orders = np.array([[_best(block) for block in row] for row in blocks])  # [h, h, e]
    totals = np.take_along_axis(blocks, orders[..., None], -1).sum((-2, -1))  # [h, h]
    return totals, orders


def _best(gain: np.ndarray) -> np.ndarray:
    """The place of each node [n] with the largest sum of gains, from those of node i at place j [n, n]."""
    return linear_sum_assignment(gain, maximize=True)[1]


def _gain(graph: NeuralGraph, names: Sequence[str], reference: Theta, theta: Theta) -> np.ndarray:
    """Inner products [n, n] of all weights at node i of θ with those at node j of the reference."""
    pairs = zip(_at_nodes(graph, names, theta), _at_nodes(graph, names, reference), strict=True)
    size = graph.group(names[0]).size
    total = sum((own @ other.T for own, other in pairs), torch.zeros(size, size))
    return total.double().numpy()


def _at_nodes(graph: NeuralGraph, names: Sequence[str], theta: Theta) -> list[Tensor]:
    """All weights that meet the nodes of these groups, each as [n, …] with one row per node."""
    weights, biases = graph.to_blocks(theta)  # [K, source, target, channels], [K, n]
    rows = [value.movedim(1, 0) for block, value in zip(graph.blocks, weights, strict=True) if block.source in names]
    rows += [
        value.movedim(2, 0)
        for block, value in zip(graph.blocks, weights, strict=True)
        if block.target in names and not block.paired
    ]
    rows += [biases[name].movedim(1, 0) for name in names if graph.group(name).bias]
    return [row.flatten(1) for row in rows]  # [n, …]
